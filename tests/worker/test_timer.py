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

from spool import hub
from tests.clock import Clock
from worker.timer import LoopTimer, PreciseTimer, TimerFd

ALARMS: list[Callable[..., Any]] = [LoopTimer, *([TimerFd] if sys.platform == "linux" else [])]
STEP_S = 1 / 1024


class Stop(BaseException):
    """As what ends an attempt: no ``Exception``."""


class HeldAlarm:
    """Rings at its time on a clock that the test puts forward."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.at: float | None = None

    def __call__(self, wake: Callable[[], None]) -> HeldAlarm:
        self._wake = wake
        return self

    def set(self, at: float | None) -> None:
        self.at = at

    def close(self) -> None:
        self.at = None

    def ring(self) -> None:
        """Put the clock forward to its time, and ring in the hub, as timers do."""
        assert self.at is not None
        self.clock.now, self.at = max(self.clock.now, self.at), None
        hub.soon(self._wake)
        gevent.sleep(0)


@pytest.fixture
def alarm() -> HeldAlarm:
    """The alarm of a pacer whose time the test holds."""
    return HeldAlarm()


@pytest.fixture
def held(alarm: HeldAlarm) -> Iterator[PreciseTimer]:
    """A pacer on it."""
    made = PreciseTimer(alarm, alarm.clock)
    yield made
    made.close()


@pytest.fixture(params=ALARMS)
def pacer(request: pytest.FixtureRequest) -> Iterator[PreciseTimer]:
    """A pacer on each kind of timer that there is here."""
    made = PreciseTimer(alarm=request.param)
    yield made
    made.close()


def wait(pacer: PreciseTimer, clock: Clock, steps: int, done: list[int]) -> None:
    """Wait for so many steps, and note for how many."""
    due = clock.now + steps * STEP_S
    assert pacer.wait_until(due)
    assert clock.now >= due
    done.append(steps)


def ring_until(alarm: HeldAlarm, *greenlets: gevent.Greenlet[..., None]) -> None:
    """Ring until all of them have ended."""
    gevent.sleep(0)
    while not all(one.ready() for one in greenlets):
        alarm.ring()
    gevent.joinall(greenlets, raise_error=True)


def test_wait_for_what_has_passed(pacer: PreciseTimer) -> None:
    """Nobody gives way for a time that has passed."""
    assert not pacer.wait_until(time.monotonic())
    assert not pacer.wait_until(float("-inf"))


def test_timer_of_each_kind(pacer: PreciseTimer) -> None:
    """The machine's timers ring for every waiter, and for none before its time."""

    def sleep(after_s: float) -> None:
        due = time.monotonic() + after_s
        pacer.wait_until(due)
        assert time.monotonic() >= due

    waits = [0.03, 0.01, 0.05, 0.0401, 0.02, 0.0203]
    gevent.joinall([gevent.spawn(sleep, after_s) for after_s in waits], raise_error=True)
    assert len(pacer) == 0


def test_waiters_in_the_order_of_their_times(held: PreciseTimer, alarm: HeldAlarm) -> None:
    """Each is woken no sooner than it asked for, and in that order, whatever the order of coming."""
    done: list[int] = []
    waits = [30, 10, 50, 41, 20, 21]
    ring_until(alarm, *[gevent.spawn(wait, held, alarm.clock, steps, done) for steps in waits])
    assert done == sorted(waits)
    assert len(held) == 0


def test_waiter_that_waits_again(held: PreciseTimer, alarm: HeldAlarm) -> None:
    """Whoever is woken may wait again at once, for sooner than the others too."""
    ticks: list[int] = []

    def tick() -> None:
        begun = alarm.clock.now
        for number in range(1, 21):
            assert held.wait_until(begun + number * STEP_S)
            ticks.append(number)

    late: list[int] = []
    others = [gevent.spawn(wait, held, alarm.clock, 200, late), gevent.spawn(tick)]
    ring_until(alarm, others[1])
    assert late == []
    ring_until(alarm, *others)
    assert ticks == list(range(1, 21))
    assert late == [200]


def test_waiter_that_is_thrown_into(held: PreciseTimer, alarm: HeldAlarm) -> None:
    """What is thrown into a waiter arrives, and neither it nor anybody else is woken for it later."""
    done: list[int] = []
    caught: list[BaseException] = []

    def catch() -> None:
        try:
            wait(held, alarm.clock, 10, done)
        except Stop as exc:
            caught.append(exc)
            wait(held, alarm.clock, 30, done)

    thrown, other = gevent.spawn(catch), gevent.spawn(wait, held, alarm.clock, 20, done)
    gevent.sleep(0)
    thrown.kill(Stop(), block=False)
    ring_until(alarm, thrown, other)
    assert len(caught) == 1
    assert done == [20, 30]


def test_waiter_that_fails(held: PreciseTimer, alarm: HeldAlarm) -> None:
    """A waiter that ends with an error when it is woken holds up no other."""
    done: list[int] = []

    def fail() -> None:
        wait(held, alarm.clock, 10, done)
        raise Stop

    failing = gevent.spawn(fail)
    ring_until(alarm, gevent.spawn(wait, held, alarm.clock, 10, done), gevent.spawn(wait, held, alarm.clock, 20, done))
    assert isinstance(failing.exception, Stop)
    assert done == [10, 10, 20]


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
    pacer = PreciseTimer()
    pacer.wait_until(float("-inf"))
    assert open_files() == before
    pacer.wait_until(time.monotonic() + 0.001)
    assert open_files() - before == {"anon_inode:[timerfd]": 1}
    pacer.close()
    assert open_files() == before
    pacer.wait_until(time.monotonic() + 0.001)
    pacer.close()
