"""Waiting for batches, and their results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spool_client import batch_steps
from spool_client.errors import SpoolError
from spool_client.steps import Answer
from spool_client.timing import Timing
from tests.clients.python.play import END, LOST, Play, answer

LINES = Answer(200, {"content-type": "application/x-ndjson"})


def batch(succeeded: int, total: int = 3) -> Answer:
    """A batch of which so many jobs have ended."""
    counts = {"queued": total - succeeded, "running": 0, "succeeded": succeeded, "failed": 0, "cancelled": 0}
    return answer({"id": "b", "total": total, "counts": counts, "ended": succeeded == total})


def line(number: int) -> bytes:
    """One result."""
    return json.dumps({"id": number, "kind": "", "text": "é\\n"}, ensure_ascii=False).encode() + b"\n"


def test_results_each_once_when_cut() -> None:
    """A download that breaks off in the middle of a line goes on with that result."""
    script = [batch(2), LINES, line(1) + line(2)[:9], LOST, batch(3), LINES, line(2)[:3], line(2)[3:], line(3), END]
    play = Play(batch_steps.results(Timing(), "/batches/b", 0, None, follow=True), script)
    assert [job["id"] for job in play.items] == [1, 2, 3]
    assert [request.path for request in play.requests if "results" in request.path] == [
        "/batches/b/results?after=0",
        "/batches/b/results?after=1",
    ]


def test_results_that_have_expired() -> None:
    """Jobs that expired have results too, and a reader that has the others gets them."""
    counts = {"queued": 0, "running": 0, "succeeded": 1, "failed": 0, "cancelled": 0, "expired": 2}
    ended = answer({"id": "b", "total": 3, "counts": counts, "ended": True})
    script = [ended, LINES, line(2) + line(3), END]
    play = Play(batch_steps.results(Timing(), "/batches/b", 1, None, follow=True), script)
    assert [job["id"] for job in play.items] == [2, 3]


def test_results_of_now() -> None:
    """Without ``follow`` the call stops at the jobs that have ended."""
    script = [batch(1), LINES, line(1), END]
    play = Play(batch_steps.results(Timing(), "/batches/b", 0, None, follow=False), script)
    assert len(play.items) == 1


def test_results_that_are_refused() -> None:
    """An unknown batch is an error."""
    with pytest.raises(SpoolError, match="no such batch"):
        Play(
            batch_steps.results(Timing(), "/batches/b", 0, None, follow=True),
            [answer({"detail": "no such batch"}, 404)],
        )


def test_wait_reports_progress_when_counts_change() -> None:
    """The server may be away for a while; progress is told once for each change."""
    seen: list[Any] = []
    play = Play(
        batch_steps.wait(Timing(), "/batches/b", seen.append), [batch(0), batch(0), LOST, LOST, batch(2), batch(3)]
    )
    assert play.result["ended"]
    assert [one["counts"]["succeeded"] for one in seen] == [0, 2, 3]


def result(index: int, cursor: int) -> bytes:
    """One result of a batch with a log."""
    return json.dumps({"id": index, "batch_index": index, "cursor": cursor}).encode() + b"\n"


def test_cursors_that_jump() -> None:
    """After a jump of cursors the results behind it are read once, and jobs that end again are not emitted again."""
    first = [batch(2), LINES, result(0, 1) + result(1, 2), END]
    lost = [batch(1), batch(2)]
    again = [batch(3), LINES, result(1, 600_001) + result(2, 600_002), END]
    play = Play(batch_steps.results(Timing(), "/batches/b", 0, None, follow=True), [*first, *lost, *again])
    assert [job["id"] for job in play.items] == [0, 1, 2]
    assert [request.path for request in play.requests if "results" in request.path][-1] == "/batches/b/results?after=2"


def test_cursor_behind_a_jump_is_a_place() -> None:
    """A caller that has results up to a cursor behind a jump gets the next ones, however few have ended."""
    script = [batch(3), LINES, result(2, 600_003), END]
    play = Play(batch_steps.results(Timing(), "/batches/b", 600_002, None, follow=True), script)
    assert [job["id"] for job in play.items] == [2]
