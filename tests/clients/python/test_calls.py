"""Plain calls: what is repeated, and under which key."""

from __future__ import annotations

import itertools
import json

import pytest

from spool_client import calls
from spool_client.errors import SpoolError
from spool_client.timing import Timing
from tests.clients.python.play import BAD_GATEWAY, LOST, Play, answer


def test_submit_is_repeated_under_one_key() -> None:
    """A POST whose answer was lost is sent again with the same Idempotency-Key and body."""
    busy = answer({"title": "Queue full"}, 503, retry_after="2")
    play = Play(calls.submit(Timing(), "Hello", {"model": "demo"}, ""), [LOST, BAD_GATEWAY, busy, answer({"id": "j"})])
    assert play.result == {"id": "j"}
    assert len({request.headers["Idempotency-Key"] for request in play.requests}) == 1
    assert {request.body for request in play.requests} == {b'{"prompt":"Hello","model":"demo"}'}
    assert play.pauses[2] >= 2


def test_submit_that_is_refused_is_not_repeated() -> None:
    """A 422 is raised at once, with the key."""
    with pytest.raises(SpoolError) as caught:
        Play(calls.submit(Timing(), {"prompt": ""}, {}, "mine"), [answer({"detail": "prompt: is empty"}, 422)])
    assert (caught.value.status, caught.value.idempotency_key) == (422, "mine")


def test_call_gives_up_after_a_minute() -> None:
    """The last error is raised, with the key for a later repetition."""
    clock = itertools.count(0, 20).__next__
    with pytest.raises(SpoolError) as caught:
        Play(calls.call(Timing(), "POST", "/jobs", body=b"{}", clock=clock), [LOST] * 3)
    assert caught.value.idempotency_key


def test_batch_of_prompts_is_json_lines() -> None:
    """Prompts become submissions, one a line; bytes are sent as they are."""
    play = Play(calls.submit_batch(Timing(), ["a\nb", {"prompt": "c", "model": "m"}], ""), [answer({"id": "b"})])
    body = play.requests[0].body or b""
    assert [json.loads(line) for line in body.splitlines()] == [{"prompt": "a\nb"}, {"prompt": "c", "model": "m"}]
    assert play.requests[0].headers["Content-Type"] == "application/x-ndjson"
    assert Play(calls.submit_batch(Timing(), b"raw\n", ""), [answer({})]).requests[0].body == b"raw\n"


def test_lines_for_an_open_batch_are_repeated_under_one_key() -> None:
    """What is open, the lines and their key are the same in each try, also while other lines are being added."""
    opened = Play(calls.open_batch(Timing(), {"metadata": {"a": "b"}}, ""), [LOST, answer({"id": "b"})])
    assert {json.loads(request.body or b"")["open"] for request in opened.requests} == {True}
    busy = answer({"title": "In progress"}, 409, retry_after="1")
    play = Play(calls.add_lines(Timing(), "b", ["x"], ""), [LOST, busy, answer({"first": 0})])
    assert {(request.path, request.body) for request in play.requests} == {("/batches/b/lines", b'{"prompt":"x"}')}
    assert len({request.headers["Idempotency-Key"] for request in play.requests}) == 1


def test_seal_is_repeated() -> None:
    """A seal whose answer was lost is sent again: sealing twice is fine."""
    play = Play(calls.on_batch(Timing(), "POST", "b/1", "/seal"), [LOST, answer({"id": "b/1", "open": False})])
    assert [request.path for request in play.requests] == ["/batches/b%2F1/seal"] * 2
    assert play.result["open"] is False


def test_delete_whose_answer_was_lost() -> None:
    """A job that is gone at the second try was deleted by the first."""
    gone = answer({"title": "Gone"}, 410)
    assert Play(calls.on_job(Timing(), "DELETE", "j"), [LOST, gone]).result is None
    with pytest.raises(SpoolError):
        Play(calls.on_job(Timing(), "DELETE", "j"), [gone])


def test_jobs_over_pages_up_to_a_limit() -> None:
    """Pages are fetched as they are needed."""
    pages = [answer({"jobs": [{"id": str(n), "kind": ""}] * 200, "cursor": "9"}) for n in range(2)]
    play = Play(calls.each_job(Timing(), {"status": "failed", "batch": ""}, limit=250), pages)
    assert [request.path for request in play.requests] == [
        "/jobs?status=failed&limit=200",
        "/jobs?status=failed&cursor=9&limit=50",
    ]


def test_ids_are_quoted_in_paths() -> None:
    """An id cannot reach another path."""
    play = Play(calls.on_job(Timing(), "GET", "../admin?x"), [answer({})])
    assert play.requests[0].path == "/jobs/..%2Fadmin%3Fx"
