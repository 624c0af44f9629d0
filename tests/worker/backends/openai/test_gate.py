"""The gate: what closes it for all jobs of a model, and what is one job's own."""

from __future__ import annotations

import threading

import pytest

from spool.deadline import Deadline
from tests.scripted_upstream import wait_until
from worker.backends.openai.backoff import Backoff, Refusal
from worker.backends.openai.gate import SUSPECTS, Passage, UpstreamGate
from worker.backends.openai.waiting_jobs import Caller

LONG = Backoff(first_s=50, most_s=1000, suspected_most_s=40, patience_s=30)
SHORT = Backoff(first_s=0.01, most_s=0.01, patience_s=30)


def let_in(gate: UpstreamGate, caller: Caller | None = None, told: Refusal | None = None) -> Passage:
    """Enter an open gate, or one that is about to open."""
    passage = gate.enter(told, Deadline.after(5), caller)
    if isinstance(passage, Refusal) and told is None:
        passage = gate.enter(passage, Deadline.after(5), caller)
    assert isinstance(passage, Passage)
    return passage


def fail(gate: UpstreamGate, *jobs: str, is_late: bool = False) -> None:
    """One call of each job, which fails; all of them go at once."""
    for passage in [let_in(gate, Caller(job)) for job in jobs]:
        passage.failed("HTTP 500: boom", is_late=is_late)


def test_failures_of_one_job_leave_the_gate_open() -> None:
    """However often one job's call fails."""
    gate = UpstreamGate(LONG)
    for _ in range(20):
        fail(gate, "poison")
    fail(gate, "other poison")
    assert gate.is_open


@pytest.mark.parametrize("is_late", [False, True])
def test_failures_of_different_jobs_in_a_row_close_it(is_late: bool) -> None:
    """Different jobs whose calls fail with no success between are the model's, for a shorter time than a refusal."""
    gate = UpstreamGate(LONG)
    fail(gate, *(f"j{n}" for n in range(SUSPECTS)), is_late=is_late)
    refusal = gate.enter(None, Deadline.never())
    assert isinstance(refusal, Refusal)
    assert refusal.suspected
    assert refusal.left_s <= LONG.suspected_most_s


def test_whole_answer_between_failures_leaves_it_open() -> None:
    """A model that answers others is not closed, however many jobs fail."""
    gate = UpstreamGate(LONG)
    for number in range(20):
        fail(gate, f"a{number}", f"b{number}", is_late=bool(number % 2))
        let_in(gate).answered()
    assert gate.is_open


def test_beginning_of_an_answer_clears_only_those_that_never_began() -> None:
    """An upstream that breaks off each answer begins them all: that is no success."""
    gate = UpstreamGate(LONG)
    fail(gate, "a", "b")
    let_in(gate).taken()
    fail(gate, "c")
    assert gate.is_open
    gate = UpstreamGate(LONG)
    fail(gate, "a", "b", is_late=True)
    let_in(gate).taken()
    fail(gate, "c", is_late=True)
    assert not gate.is_open


def test_beginning_of_an_answer_does_not_reset_the_pause() -> None:
    """While calls break off, each closing is longer than the one before, although each answer began."""
    gate = UpstreamGate(Backoff(first_s=0.01, most_s=1000, suspected_part=1, suspected_most_s=1000))
    fail(gate, *(f"j{n}" for n in range(SUSPECTS)), is_late=True)
    for number in range(4):
        passage = let_in(gate, Caller(f"late {number}"))
        passage.taken()
        passage.failed("broke off", is_late=True)
    refusal = gate.enter(None, Deadline.never())
    assert isinstance(refusal, Refusal)
    assert refusal.left_s > 0.04


def test_answer_to_any_call_ends_a_suspicion() -> None:
    """Also to one that was under way before: the others need not wait."""
    gate = UpstreamGate(LONG)
    under_way = let_in(gate)
    fail(gate, *(f"j{n}" for n in range(SUSPECTS)))
    assert not gate.is_open
    under_way.answered()
    assert isinstance(gate.enter(None, Deadline.never()), Passage)


def test_answer_does_not_end_what_the_upstream_asked_for() -> None:
    """A refusal with a time to come back stands, whatever ends meanwhile."""
    gate = UpstreamGate(LONG)
    under_way = let_in(gate)
    let_in(gate).refused("HTTP 429", 60.0)
    under_way.answered()
    assert isinstance(gate.enter(None, Deadline.never()), Refusal)


def test_refusal_of_one_job_among_answered_ones_is_its_own() -> None:
    """The first 429 closes the gate; the next of the same job does not, if others were answered in between."""
    gate = UpstreamGate(SHORT)
    caller = Caller("greedy")
    assert let_in(gate, caller).refused("HTTP 429", None)
    caller.failures += 1
    let_in(gate).answered()
    assert not let_in(gate, caller).refused("HTTP 429", None)
    assert let_in(gate, Caller("another")).refused("HTTP 429", None)


def test_job_that_leaves_lets_the_next_one_probe() -> None:
    """A job that was to be the next and gives up does not hold up the others."""
    gate = UpstreamGate(Backoff(first_s=0.05, most_s=0.05, patience_s=30))
    let_in(gate).refused("HTTP 503", None)
    refusal = gate.enter(None, Deadline.never())
    assert isinstance(refusal, Refusal)
    patient = Caller("patient")
    patient.failures = 1
    entered: list[object] = []
    thread = threading.Thread(target=lambda: entered.append(gate.enter(refusal, Deadline.after(60), patient)))
    thread.start()
    wait_until(lambda: gate.waiting == 1, "the patient job waits")
    gate.enter(refusal, Deadline.after(0), Caller("hasty"))
    thread.join(60)
    assert isinstance(entered[0], Passage)
