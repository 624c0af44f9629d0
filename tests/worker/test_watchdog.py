"""The watchdog: what it takes for standing still, what it does not, and how it ends the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker.watchdog import EXIT_STATUS, HUB_STANDS_S, IDLE_S, Watchdog

LOOK_S = 0.5


def looks(watchdog: Watchdog, seconds: float, *, ticks: bool, asks: bool, could_take: bool) -> str | None:
    """So many seconds of looks; what was wrong at the first that found something."""
    for _ in range(round(seconds / LOOK_S)):
        if ticks:
            watchdog.ticked()
        if asks:
            watchdog.asked()
        wrong = watchdog.look(LOOK_S, could_take=could_take)
        if wrong is not None:
            return wrong
    return None


@pytest.mark.parametrize(("asks", "could_take"), [(True, True), (True, False), (False, False)])
def test_process_that_works(asks: bool, could_take: bool) -> None:
    """A hub that runs, and somebody who asks for jobs, or no slot to ask for: nothing is wrong, however long."""
    assert looks(Watchdog(), 1000, ticks=True, asks=asks, could_take=could_take) is None


@pytest.mark.parametrize("could_take", [True, False])
def test_hub_that_stands_still(could_take: bool) -> None:
    """A hub that ran nothing for its time is wrong, with or without free slots, and not a look sooner."""
    watchdog = Watchdog()
    assert looks(watchdog, HUB_STANDS_S - LOOK_S, ticks=False, asks=False, could_take=could_take) is None
    wrong = watchdog.look(LOOK_S, could_take=could_take)
    assert wrong is not None
    assert "the hub has run no greenlet" in wrong


def test_hub_that_stands_still_now_and_then() -> None:
    """Each sign of life begins the time anew."""
    watchdog = Watchdog()
    for _ in range(5):
        assert looks(watchdog, HUB_STANDS_S - LOOK_S, ticks=False, asks=True, could_take=True) is None
        watchdog.ticked()
        assert watchdog.look(LOOK_S, could_take=True) is None


def test_process_that_takes_nothing() -> None:
    """Free slots, a Redis that answers, and nobody who asks it: wrong after its time, though the hub runs."""
    watchdog = Watchdog()
    assert looks(watchdog, IDLE_S - LOOK_S, ticks=True, asks=False, could_take=True) is None
    watchdog.ticked()
    wrong = watchdog.look(LOOK_S, could_take=True)
    assert wrong is not None
    assert "slots" in wrong


def test_process_that_could_not_take_anything_meanwhile() -> None:
    """Time with full slots, or without Redis, is no idle time: it begins anew after it."""
    watchdog = Watchdog()
    for _ in range(5):
        assert looks(watchdog, IDLE_S - LOOK_S, ticks=True, asks=False, could_take=True) is None
        watchdog.ticked()
        assert watchdog.look(LOOK_S, could_take=False) is None


def test_process_that_was_stopped_as_a_whole() -> None:
    """Time is what the caller says that passed: a look after a long stop is one look."""
    watchdog = Watchdog()
    assert watchdog.look(LOOK_S, could_take=True) is None
    assert watchdog.look(0.0, could_take=True) is None
    watchdog.ticked()
    assert watchdog.look(LOOK_S, could_take=True) is None


def test_end_of_the_process() -> None:
    """It ends at once with a status of its own, past every handler, and leaves where each thread stood."""
    program = (
        "import atexit, threading\n"
        "from worker.watchdog import end_process\n"
        "atexit.register(print, 'at exit')\n"
        "def stands_here(): end_process('it stands still')\n"
        "threading.Thread(target=stands_here).start()\n"
        "threading.Event().wait(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == EXIT_STATUS
    assert "it stands still" in ended.stderr
    assert "stands_here" in ended.stderr
    assert "at exit" not in ended.stdout
