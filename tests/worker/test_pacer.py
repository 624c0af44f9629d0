"""The pacer wakes whoever is due, in order, once, and forgets whoever no longer waits."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import pytest

from worker.pacer import LoopTimer, Pacer, TimerFd

ALARMS: list[Callable[..., Any]] = [LoopTimer, *([TimerFd] if sys.platform == "linux" else [])]


class Stop(BaseException):
    """As what ends an attempt: no ``Exception``."""


@pytest.fixture(params=ALARMS)
def pacer(request: pytest.FixtureRequest) -> Iterator[Pacer]:
    """A pacer on each kind of timer that there is here."""
    made = Pacer(alarm=request.param)
    yield made
    made.close()


def wait(pacer: Pacer, after_s: float, done: list[float]) -> None:
    """Wait, and note what for and when it came."""
    due = time.monotonic() + after_s
    assert pacer.wait_until(due)
    assert time.monotonic() >= due
    done.append(after_s)


def test_wait_for_what_has_passed(pacer: Pacer) -> None:
    """Nobody gives way for a time that has passed."""
    assert not pacer.wait_until(time.monotonic())
    assert not pacer.wait_until(float("-inf"))


def test_waiters_in_the_order_of_their_times(pacer: Pacer) -> None:
    """Each is woken no sooner than it asked for, and in that order, whatever the order of coming."""
    done: list[float] = []
    waits = [0.03, 0.01, 0.05, 0.0401, 0.02, 0.0203]
    gevent.joinall([gevent.spawn(wait, pacer, after_s, done) for after_s in waits], raise_error=True)
    assert done == sorted(waits)
    assert len(pacer) == 0


def test_waiter_that_waits_again(pacer: Pacer) -> None:
    """Whoever is woken may wait again at once, for sooner than the others too."""
    ticks: list[int] = []

    def tick() -> None:
        begun = time.monotonic()
        for number in range(1, 21):
            pacer.wait_until(begun + number / 1000)
            ticks.append(number)

    late: list[float] = []
    gevent.joinall([gevent.spawn(wait, pacer, 0.2, late), gevent.spawn(tick)], raise_error=True)
    assert ticks == list(range(1, 21))
    assert late == [0.2]


def test_waiter_that_is_thrown_into(pacer: Pacer) -> None:
    """What is thrown into a waiter arrives, and neither it nor anybody else is woken for it later."""
    done: list[float] = []
    caught: list[BaseException] = []

    def catch() -> None:
        try:
            wait(pacer, 0.01, done)
        except Stop as exc:
            caught.append(exc)
            wait(pacer, 0.03, done)

    thrown, other = gevent.spawn(catch), gevent.spawn(wait, pacer, 0.02, done)
    gevent.sleep(0)
    thrown.kill(Stop(), block=False)
    gevent.joinall([thrown, other], raise_error=True)
    assert len(caught) == 1
    assert done == [0.02, 0.03]


def test_waiter_that_fails(pacer: Pacer) -> None:
    """A waiter that ends with an error when it is woken holds up no other."""
    done: list[float] = []

    def fail() -> None:
        wait(pacer, 0.01, done)
        raise Stop

    failing = gevent.spawn(fail)
    gevent.joinall([failing, gevent.spawn(wait, pacer, 0.01001, done), gevent.spawn(wait, pacer, 0.02, done)])
    assert done == [0.01, 0.01001, 0.02]


def open_files() -> Counter[str]:
    """What this process has open, and how often."""
    found: Counter[str] = Counter()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found[str(path.readlink())] += 1
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_files_of_a_pacer() -> None:
    """A pacer opens nothing before the first wait, and leaves nothing open."""
    before = open_files()
    pacer = Pacer()
    pacer.wait_until(0)
    assert open_files() == before
    pacer.wait_until(time.monotonic() + 0.001)
    assert open_files() - before == {"anon_inode:[timerfd]": 1}
    pacer.close()
    assert open_files() == before
    pacer.wait_until(time.monotonic() + 0.001)
    pacer.close()
