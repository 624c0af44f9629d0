"""Entries in, AG-UI's numbered events out."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from spool.jobs.entries import Kind
from tests.web.ai_sdk.test_ui_stream import call, token
from tests.web.logs import Logs, job_of
from web.ag_ui.events import AgUiStream, place_of

RUN = {"threadId": "t", "runId": "r"}
LOG = [
    (Kind.STARTED, {"attempt": 1, "model": "demo"}),
    (Kind.REASONING, {"text": "Hm"}),
    token("a\n\n"),
    token(""),
    token("b"),
    call(0, "", "one"),
    call(1, '{"b":', "two"),
    call(0, "{}"),
    call(1, "2}"),
    token("c"),
    (Kind.USAGE, {"input_tokens": 3, "output_tokens": 4}),
]
ENDS: dict[str, Any] = {
    "done": (Kind.DONE, {"finish_reason": "stop"}),
    "failed": (Kind.FAILED, {"error": {"code": "internal", "message": "m"}}),
    "cancelled": (Kind.CANCELLED, {}),
    "restarted": (Kind.RESTARTED, {"attempt": 2, "reason": "x"}),
}


def sent(logs: Logs, *, after: int = -1, size: int = 1) -> list[tuple[str, dict[str, Any]]]:
    """The ids and the events after that number, fed so many entries at a time."""
    stream = AgUiStream(job_of(logs), RUN, after=after)
    data = stream.opening()
    for at in range(0, len(logs.rows), size):
        data += stream.entries(logs.rows[at : at + size])
    blocks = data.decode().split("\n\n")
    assert blocks.pop() == ""
    pairs = [block.split("\n") for block in blocks]
    return [(event_id.removeprefix("id: "), orjson.loads(data.removeprefix("data: "))) for event_id, data in pairs]


def test_run() -> None:
    """A run begins first and ends last; messages and calls begin before their pieces, and all end."""
    events = [event for _id, event in sent(Logs([*LOG, ENDS["done"]]))]
    assert [event["type"] for event in events] == [
        "RUN_STARTED",
        *("REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT"),
        *("REASONING_MESSAGE_END", "REASONING_END"),
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("TOOL_CALL_START", "TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_ARGS", "TOOL_CALL_ARGS"),
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("TOOL_CALL_END", "TOOL_CALL_END"),
        "RUN_FINISHED",
    ]
    assert events[-1] == {"type": "RUN_FINISHED", **RUN}
    ids = [event["messageId"] for event in events if event["type"].endswith("MESSAGE_START")]
    assert len(set(ids)) == 3
    pieces = [event["delta"] for event in events if event["type"] == "TOOL_CALL_ARGS" and event["toolCallId"] == "c1"]
    assert "".join(pieces) == '{"b":2}'


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("size", [1, 4, 100])
def test_rest_after_any_event(end: str, size: int) -> None:
    """The rest after any event is the whole without what came before, under the same ids."""
    logs = Logs([*LOG, ENDS[end]])
    whole = sent(logs)
    for at, (event_id, _event) in enumerate(whole):
        place = place_of(event_id)
        assert place == (job_of(logs).id, at)
        assert sent(logs, after=at, size=size) == whole[at + 1 :]


@pytest.mark.parametrize("end", ["failed", "cancelled", "restarted"])
def test_other_ends(end: str) -> None:
    """A run that does not end well ends with an error, after the ends of what was open."""
    types = [event["type"] for _id, event in sent(Logs([*LOG, ENDS[end]]))]
    assert types[-4:] == ["TEXT_MESSAGE_END", "TOOL_CALL_END", "TOOL_CALL_END", "RUN_ERROR"]


def test_failure() -> None:
    """The error has the upstream's code, and the job's own beside it."""
    error = {"code": "attempts_exhausted", "message": "m", "retryable": True, "upstream": {"code": "overloaded"}}
    _id, last = sent(Logs([*LOG, (Kind.FAILED, {"error": error})]))[-1]
    assert last == {"type": "RUN_ERROR", "message": "m", "code": "overloaded", "rawEvent": error}


def test_page_without_the_known_events() -> None:
    """A page that other streams have translated is sent without the events that this one has."""
    logs = Logs(LOG)
    other = AgUiStream(job_of(logs), RUN)
    opening, page = other.opening(), other.entries(logs.rows)
    own = AgUiStream(job_of(logs), RUN, after=4)
    own.number = other.number
    assert own.rest(page) == b"\n\n".join((opening + page).split(b"\n\n")[5:])


@pytest.mark.parametrize("event_id", ["", "j0-0", "j0-0/x", "j0-0/-1", "j0-0/1/2", "/1", "j0-0/" + "9" * 10])
def test_id_of_no_event(event_id: str) -> None:
    """Another text is no id."""
    assert place_of(event_id) is None
