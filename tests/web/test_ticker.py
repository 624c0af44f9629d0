"""The one timer of a process for objects with deadlines."""

from __future__ import annotations

import pytest

from web.ticker import Ticker


class Ticked:
    """Keeps its ticks, and does something at each."""

    def __init__(self, ticker: Ticker, *, removes_itself: bool = False, fails: bool = False) -> None:
        self.ticks: list[float] = []
        self._ticker, self._removes_itself, self._fails = ticker, removes_itself, fails
        ticker.add(self)

    def tick(self, now: float) -> None:
        """Keep it."""
        self.ticks.append(now)
        if self._removes_itself:
            self._ticker.remove(self)
        if self._fails:
            raise RuntimeError("broken")


def test_every_object_is_called(caplog: pytest.LogCaptureFixture) -> None:
    """Each gets the time, until it is removed; one that fails does not keep the others from theirs."""
    times = iter([1.0, 2.0])
    ticker = Ticker(clock=lambda: next(times))
    once, broken, always = Ticked(ticker, removes_itself=True), Ticked(ticker, fails=True), Ticked(ticker)
    ticker.tick()
    ticker.tick()
    assert (once.ticks, broken.ticks, always.ticks) == ([1.0], [1.0, 2.0], [1.0, 2.0])
    assert caplog.text.count("tick failed") == 2


def test_it_runs_for_ever() -> None:
    """It sleeps between the ticks."""

    class Stop(Exception):
        """Ends the test."""

    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise Stop

    ticker = Ticker(clock=lambda: 0.0, sleep=sleep)
    ticked = Ticked(ticker)
    with pytest.raises(Stop):
        ticker.run()
    assert len(ticked.ticks) == 2
