"""A service that is away: it is left alone for ever longer, and the log says when that begins and when it ends."""

from __future__ import annotations

import logging

import pytest

from spool.outage import MOST_S, Outage


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage(logging.getLogger("spool.test"), "broker", "jobs go on", clock)


def test_pauses_grow_up_to_a_limit(outage: Outage, clock: Clock) -> None:
    """Each failure is followed by a longer pause, up to ``MOST_S``; a success ends them."""
    pauses = []
    for _ in range(12):
        pauses.append(outage.failed(OSError("no")))
        assert outage.left_s == pytest.approx(pauses[-1])
        clock.now += pauses[-1]
        assert outage.left_s == 0
    assert pauses[0] < 1
    assert pauses[4] > 2 * pauses[0]
    assert MOST_S * 0.75 <= pauses[-1] <= MOST_S
    outage.worked()
    assert outage.failed(OSError("no")) < 1


def test_log_has_one_line_for_its_beginning_and_one_for_its_end(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it fails, and however often it works."""
    with caplog.at_level(logging.INFO, logger="spool.test"):
        outage.worked()
        for _ in range(50):
            outage.failed(ConnectionError("refused\n" + "x" * 1000))
        clock.now += 60
        outage.worked()
        outage.worked()
    began, ended = (record.getMessage() for record in caplog.records)
    assert began.startswith("broker: ConnectionError: refused x")
    assert began.endswith("; jobs go on")
    assert len(began) < 300
    assert ended == "broker: works again after 60 s"
