"""Signals for a loop that waits with a selector: a handler only records the signal and wakes the loop."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType
from typing import Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WITHOUT_MEANING = (signal.SIGUSR1, signal.SIGUSR2)
"""By default they would end the supervisor at once, and so its programs in the wrong order."""


class StopSignals:
    """While entered, collects the stop signals; ``fd`` becomes readable after them and after SIGCHLD."""

    def __init__(self) -> None:
        self._notes: list[signal.Signals] = []
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)

    def __enter__(self) -> Self:
        # Under nohup SIGHUP is ignored and must stay so.
        numbers = [n for n in STOP_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
        self._before = {n: signal.signal(n, self._note) for n in numbers}
        for number in (signal.SIGCHLD, *_WITHOUT_MEANING):
            # Not SIG_IGN, because every program started here would inherit it.
            self._before[number] = signal.signal(number, lambda *_: None)
        self._old_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._old_fd)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self._write_fd)

    def take(self) -> list[signal.Signals]:
        """The stop signals since the last call; also empties ``fd``."""
        with suppress(BlockingIOError):
            os.read(self.fd, 4096)
        notes, self._notes = self._notes, []
        return notes

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._notes.append(signal.Signals(number))
