"""The log lines of an attempt."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spool.jobs.origin import Origin
from spool.logs import configure
from tests.by_hand import claimed
from worker.attempt_events import AttemptEvents

Said = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Said]:
    """The lines written so far, as JSON."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    configure("info", "json")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    root.handlers[:] = before[1]
    root.setLevel(before[0])


def test_attempt_that_succeeds(said: Said) -> None:
    """Its lines have the job, the request, the attempt, the tokens and the times."""
    times = iter([10.0, 10.5, 12.0])
    events = AttemptEvents(claimed(origin=Origin("r1"), attempt=2), lambda: next(times))
    events.claimed()
    events.first_token()
    events.ended("succeeded", {"finish_reason": "stop"}, {"input_tokens": 7, "output_tokens": 9})
    lines = said()
    assert [(one["event"], one["request_id"], one["attempt"]) for one in lines] == [
        ("job_claimed", "r1", 2),
        ("job_first_token", "r1", 2),
        ("job_ended", "r1", 2),
    ]
    assert lines[0]["how"] == "started"
    ended = ("status", "finish_reason", "input_tokens", "output_tokens", "first_token_ms", "ms")
    assert [lines[2][name] for name in ended] == ["succeeded", "stop", 7, 9, 500, 2000]


def test_words_of_others_are_in_no_line(said: Said) -> None:
    """What an upstream said may repeat the prompt: lines have codes alone."""
    events = AttemptEvents(claimed())
    events.waits("429: you said secret", 1.5)
    events.handed_back("upstream_interrupted", "queued", "secret")
    events.ended("failed", {"error": {"code": "upstream_error", "message": "secret"}}, None)
    lines = said()
    assert [one["event"] for one in lines] == ["job_waits", "job_handed_back", "job_ended"]
    assert lines[2]["code"] == "upstream_error"
    assert "secret" not in json.dumps(lines)


def test_headers_for_the_upstream() -> None:
    """An upstream gets the id of the request and its place in the trace, as far as they are known."""
    known = claimed(origin=Origin("r1", "00-trace"))
    assert AttemptEvents(known).calls("") == {"X-Request-Id": "r1", "traceparent": "00-trace"}
    assert AttemptEvents(claimed()).calls("") == {}
