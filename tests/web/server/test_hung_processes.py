"""Processes that stand still, as gunicorn's master finds them out."""

from __future__ import annotations

import signal
from typing import Any

from web.server.hung_processes import HANG_S, HungProcesses


class Master:
    """Two processes that beat, or not."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.WORKERS: dict[int, Any] = {1: self, 2: Beating(self)}
        self.killed: list[tuple[int, int]] = []
        self.beaten_at = self.now
        self.tmp = self
        self.hung = HungProcesses(self, clock=lambda: self.now)

    def last_update(self) -> float:
        """The last beat of the first process."""
        return self.beaten_at

    def kill_worker(self, pid: int, sig: int) -> None:
        """It is gone."""
        self.killed.append((pid, sig))
        del self.WORKERS[pid]

    def look(self, seconds: int) -> None:
        """Look once a second."""
        for _ in range(seconds):
            self.now += 1
            self.hung.end()


class Beating:
    """A process that always has just beaten."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self.tmp = self

    def last_update(self) -> float:
        """Now."""
        return self._master.now


def test_process_that_stands_still() -> None:
    """It is killed, not asked: one that is stopped cannot be asked. The other one is left alone."""
    master = Master()
    master.look(int(HANG_S))
    assert master.killed == []
    master.look(1)
    assert master.killed == [(1, signal.SIGKILL)]


def test_pause_of_the_whole_web() -> None:
    """Everything stood still together, and goes on: nothing is killed for it."""
    master = Master()
    master.now += 3600
    master.look(int(HANG_S))
    assert master.killed == []


def test_process_that_still_stands_after_a_pause() -> None:
    """The pause only starts the count again."""
    master = Master()
    master.now += 3600
    master.look(int(HANG_S) + 2)
    assert master.killed == [(1, signal.SIGKILL)]


def test_process_that_starts() -> None:
    """It has a minute until it beats, and no more."""
    master = Master()
    master.beaten_at = master.now + 45
    master.look(60)
    assert master.killed == []
    master.look(1)
    assert master.killed == [(1, signal.SIGKILL)]


def test_process_that_is_gone() -> None:
    """What has ended but is not buried yet is passed over."""
    master = Master()

    class Gone:
        tmp: Any = None

        def last_update(self) -> float:
            raise ValueError("closed")

    gone = Gone()
    gone.tmp = gone
    master.WORKERS[3] = gone
    master.look(30)
    assert master.killed == [(1, signal.SIGKILL)]
