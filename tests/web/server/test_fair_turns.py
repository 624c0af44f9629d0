"""Turns of greenlets that would never block."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.clock import Clock
from web.server.fair_turns import TURN_S, Turns


def test_turns_follow_each_other() -> None:
    """Callers that come at once begin one after the other, each a turn and a rest later."""
    slept: list[float] = []
    turns = Turns(Clock(), slept.append)
    for _ in range(3):
        turns.wait()
    assert slept[0] > 0
    pauses = [after - before for before, after in pairwise(slept)]
    assert pauses == [pytest.approx(pauses[0])] * 2
    assert pauses[0] > TURN_S


def test_turn_after_a_pause_begins_at_once() -> None:
    """A process that was idle owes no turn: only the rest is waited for."""
    clock, slept = Clock(), list[float]()
    turns = Turns(clock, slept.append)
    turns.wait()
    clock.now += 100
    turns.wait()
    assert slept[1] == pytest.approx(slept[0])


def test_rest() -> None:
    """A rest is shorter than a turn, and takes none."""
    clock, slept = Clock(), list[float]()
    turns = Turns(clock, slept.append)
    turns.rest()
    turns.wait()
    assert 0 < slept[0] < TURN_S
    assert slept[1] == pytest.approx(slept[0])
