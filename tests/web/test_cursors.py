"""Cursors and the other arguments of reading: what is none, what is too far ahead, and what is missing in between."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import websocket

from spool.keys import job as job_key
from tests.by_hand import HandWorker
from tests.stack import Stack
from tests.web.conftest import ALICE
from tests.web.problem_shape import assert_problem

BAD_CURSORS = [
    "x",
    "-0",
    "-1001",
    "last",
    "1.5",
    "1e3",
    "+1",
    " ",
    "1 ",
    "0x1",
    "1-0",
    "٣",
    "NaN",
    "null",
    "9" * 19,
    "9" * 400,
    "1,2",
]


def sse_events(text: str) -> list[dict[str, str]]:
    """Server-sent events, as their fields."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return [dict(line.partition(": ")[::2] for line in block.split("\n") if line[0] != ":") for block in blocks]


@pytest.fixture(scope="module")
def running(alice: httpx.Client, worker: HandWorker) -> str:
    """A job that runs and has said two tokens: its log ends at 3."""
    claim = worker.take_job(alice.post("/jobs", json={"prompt": "x"}).json()["id"])
    worker.say(claim, "Hel", "lo")
    return claim.job.id


@pytest.fixture(scope="module")
def ended(alice: httpx.Client, worker: HandWorker) -> str:
    """A job that has ended with two tokens: its terminal entry is 4."""
    claim = worker.take_job(alice.post("/jobs", json={"prompt": "x"}).json()["id"])
    worker.say(claim, "Hel", "lo")
    worker.finish(claim)
    return claim.job.id


@pytest.fixture
def torn(guarded: Stack, alice: httpx.Client, worker: HandWorker) -> str:
    """A job that has ended at entry 8 and has lost 1, 2, 5 and 6."""
    claim = worker.take_job(alice.post("/jobs", json={"prompt": "x"}).json()["id"])
    worker.say(claim, *"abcdef")
    worker.finish(claim)
    guarded.redis.link.call("XDEL", f"{job_key(claim.job.id)}:log", "1-0", "2-0", "5-0", "6-0")
    return claim.job.id


@pytest.mark.parametrize("cursor", BAD_CURSORS, ids=lambda value: value[:20])
@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson", "text/plain"])
def test_cursor_that_is_none(alice: httpx.Client, running: str, accept: str, cursor: str) -> None:
    """A cursor that is no number from 0 on is refused, by every name that it may come under."""
    headers = {"Accept": accept}
    document = assert_problem(alice.get(f"/jobs/{running}/stream", params={"after": cursor}, headers=headers), 400)
    assert document["errors"][0]["field"] == "after"
    if cursor.isascii() and cursor.strip() == cursor:
        headers["Last-Event-ID"] = cursor
        assert_problem(alice.get(f"/jobs/{running}/stream", headers=headers), 400, "Last-Event-ID")


@pytest.mark.parametrize("cursor", BAD_CURSORS, ids=lambda value: value[:20])
def test_cursor_that_is_none_when_polling(alice: httpx.Client, running: str, cursor: str) -> None:
    """Polling refuses the same cursors."""
    assert_problem(alice.get(f"/jobs/{running}/entries", params={"after": cursor}), 400, "after")
    batch = alice.post("/batches", json=[{"prompt": "x"}]).json()["id"]
    alice.post(f"/batches/{batch}/cancel")
    assert_problem(alice.get(f"/batches/{batch}/results", params={"after": cursor}), 400, "after")


@pytest.mark.parametrize("cursor", ["x", "-0", "1.5", "9" * 19])
def test_cursor_that_is_none_over_websocket(guarded: Stack, running: str, cursor: str) -> None:
    """A WebSocket with such a cursor closes with 1008."""
    opcode, data = follow(guarded, f"/jobs/{running}/ws?after={cursor}")[-1]
    assert (opcode, int.from_bytes(data[:2])) == (websocket.ABNF.OPCODE_CLOSE, 1008)


@pytest.mark.parametrize("query", ["", "after=", "after=0", "after=00"])
def test_cursor_empty(alice: httpx.Client, ended: str, query: str) -> None:
    """No cursor, an empty one and 0 all mean the beginning."""
    response = alice.get(f"/jobs/{ended}/entries?{query}&wait=0").json()
    assert [entry["id"] for entry in response["entries"]] == [1, 2, 3, 4]


def test_last_event_id_beats_after(alice: httpx.Client, ended: str) -> None:
    """A reconnecting EventSource has the old ``after`` in its URL: what it saw since counts."""
    seen = ids_of(alice, ended, "after=1", {"Last-Event-ID": "3"})
    assert seen == [4]


def test_last_event_id_empty(alice: httpx.Client, ended: str) -> None:
    """An empty Last-Event-ID says nothing."""
    assert ids_of(alice, ended, "after=2", {"Last-Event-ID": ""}) == [3, 4]


def test_cursor_of_the_end(alice: httpx.Client, ended: str) -> None:
    """Who has the terminal entry is told that there is nothing more: SSE by 204, the others by the end."""
    url = f"/jobs/{ended}/stream?after=4"
    response = alice.get(url)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Cache-Control"] == "no-store"
    assert alice.get(url, headers={"Accept": "application/x-ndjson"}).content == b""
    assert alice.get(url, headers={"Accept": "text/plain"}).content == b""
    document = alice.get(f"/jobs/{ended}/entries?after=4").json()
    assert (document["entries"], document["next"], document["ended"]) == ([], 4, True)


@pytest.mark.parametrize("ahead", [5, 1000, 10**18 - 1])
def test_cursor_ahead_of_the_end(alice: httpx.Client, ended: str, ahead: int) -> None:
    """Who claims to have more than there is is told so, then gets the end."""
    first, gap, end = sse_events(alice.get(f"/jobs/{ended}/stream?after={ahead}").text)
    missing = {"type": "gap", "requested": ahead + 1, "earliest": 4, "latest": 4}
    assert first["event"] == "attached"
    assert (gap["event"], gap["id"], json.loads(gap["data"])) == ("gap", "3", missing)
    assert (end["event"], end["id"]) == ("done", "4")
    lines = [json.loads(line) for line in ndjson(alice, ended, ahead)]
    assert lines[0] == missing
    assert [line["kind"] for line in lines[1:]] == ["done"]
    document = alice.get(f"/jobs/{ended}/entries?after={ahead}").json()
    assert (document["gap"]["requested"], document["next"], document["ended"]) == (ahead + 1, 4, True)
    assert [entry["kind"] for entry in document["entries"]] == ["done"]


def test_cursor_ahead_of_the_end_over_websocket(guarded: Stack, ended: str) -> None:
    """The same over a WebSocket."""
    *frames, (_, close) = follow(guarded, f"/jobs/{ended}/ws?after=77")
    said = [json.loads(data) for _, data in frames]
    assert said[0] == {"type": "gap", "requested": 78, "earliest": 4, "latest": 4}
    assert [one["kind"] for one in said[1:]] == ["done"]
    assert int.from_bytes(close[:2]) == 1000


@pytest.mark.parametrize("ahead", [4, 1000, 10**18 - 1])
def test_cursor_ahead_of_a_running_log(alice: httpx.Client, running: str, ahead: int) -> None:
    """Ahead of a log that still runs there is nothing yet, and no error."""
    document = alice.get(f"/jobs/{running}/entries?after={ahead}&wait=0").json()
    assert document == {"entries": [], "next": ahead, "ended": False, "status": "running", "gap": None}


def test_cursor_of_another_job(alice: httpx.Client, ended: str, running: str) -> None:
    """Cursors are numbers: another job's is one of this job's, or ahead of it."""
    other = alice.get(f"/jobs/{ended}/entries?wait=0").json()["next"]
    assert alice.get(f"/jobs/{running}/entries?after={other}&wait=0").json()["entries"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wait", "-1"),
        ("wait", "x"),
        ("wait", "1.5"),
        ("wait", ""),
        ("wait", "9" * 10),
        ("limit", "0"),
        ("limit", "-1"),
        ("limit", "1001"),
        ("limit", "x"),
        ("limit", ""),
        ("linger_ms", "-1"),
        ("linger_ms", "1001"),
        ("linger_ms", "x"),
    ],
)
def test_polling_argument_wrong(alice: httpx.Client, running: str, name: str, value: str) -> None:
    """Arguments of polling that are no number, or out of range, are refused by name."""
    assert_problem(alice.get(f"/jobs/{running}/entries", params={name: value}), 422, name)


def test_wait_longer_than_allowed(alice: httpx.Client, ended: str) -> None:
    """A wait that is too long is shortened, not refused."""
    assert alice.get(f"/jobs/{ended}/entries?wait=86400").json()["ended"] is True


def test_limit_of_entries(alice: httpx.Client, ended: str) -> None:
    """A limit cuts the answer; ``next`` goes on behind it, and the end comes with the terminal entry alone."""
    first = alice.get(f"/jobs/{ended}/entries?limit=3").json()
    assert ([entry["id"] for entry in first["entries"]], first["next"], first["ended"]) == ([1, 2, 3], 3, False)
    rest = alice.get(f"/jobs/{ended}/entries?after=3&limit=3").json()
    assert ([entry["id"] for entry in rest["entries"]], rest["next"], rest["ended"]) == ([4], 4, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "201"),
        ("limit", "x"),
        ("limit", "-5"),
        ("limit", "5.0"),
        ("status", "asleep"),
        ("status", ""),
        ("status", "QUEUED"),
        ("cursor", "x"),
        ("cursor", "-1"),
        ("cursor", ""),
        ("cursor", "9" * 19),
        ("cursor", "1.7e15"),
    ],
)
def test_list_argument_wrong(alice: httpx.Client, name: str, value: str) -> None:
    """Arguments of the list that are none of those that it knows are refused by name."""
    assert_problem(alice.get("/jobs", params={name: value}), 422, name)


@pytest.mark.parametrize("batch", ["nonsense", "b0-" + "0" * 26, "\x00", "🧵"])
def test_list_of_a_batch_that_is_not_there(alice: httpx.Client, batch: str) -> None:
    """A batch that is not there has no jobs."""
    assert alice.get("/jobs", params={"batch": batch}).json()["jobs"] == []


def test_gap_as_server_sent_events(alice: httpx.Client, torn: str) -> None:
    """Missing entries are named where they are missing, with the id to go on from, and what is left comes after."""
    events = [(event["event"], event.get("id")) for event in sse_events(alice.get(f"/jobs/{torn}/stream").text)[1:]]
    assert events == [("gap", "2"), ("token", "3"), ("token", "4"), ("gap", "6"), ("token", "7"), ("done", "8")]


def test_gap_as_ndjson(alice: httpx.Client, torn: str) -> None:
    """The same as lines."""
    lines = [json.loads(line) for line in ndjson(alice, torn, 0)]
    assert [line.get("id") or line["type"] for line in lines] == ["gap", 3, 4, "gap", 7, 8]
    assert lines[3] == {"type": "gap", "requested": 5, "earliest": 7, "latest": 8}


def test_gap_over_websocket(guarded: Stack, torn: str) -> None:
    """The same as frames."""
    said = [json.loads(data) for _, data in follow(guarded, f"/jobs/{torn}/ws")[:-1]]
    assert [one.get("id") or one["type"] for one in said] == ["gap", 3, 4, "gap", 7, 8]


def test_gap_when_polling(alice: httpx.Client, torn: str) -> None:
    """The same over polling, one answer after the other."""
    seen: list[Any] = []
    after, document = 0, {"ended": False}
    while not document["ended"]:
        document = alice.get(f"/jobs/{torn}/entries?after={after}").json()
        seen += ["gap"] * (document["gap"] is not None) + [entry["id"] for entry in document["entries"]]
        after = document["next"]
    assert seen == ["gap", 3, 4, "gap", 7, 8]


def test_gap_in_bare_text(alice: httpx.Client, torn: str) -> None:
    """Bare text has no word for a gap: the connection is cut."""
    with pytest.raises(httpx.RemoteProtocolError):
        alice.get(f"/jobs/{torn}/stream", headers={"Accept": "text/plain"})


def test_gap_up_to_the_end(guarded: Stack, alice: httpx.Client, torn: str) -> None:
    """Where nothing of an ended log is left, readers are sent to its end, so that they stop coming back."""
    guarded.redis.link.call("DEL", f"{job_key(torn)}:log")
    events = sse_events(alice.get(f"/jobs/{torn}/stream?after=2").text)
    assert [(event["event"], event.get("id")) for event in events[1:]] == [("gap", "8")]
    assert json.loads(events[1]["data"]) == {"type": "gap", "requested": 3, "earliest": None, "latest": None}
    assert alice.get(f"/jobs/{torn}/stream", headers={"Last-Event-ID": "8"}).status_code == 204
    document = alice.get(f"/jobs/{torn}/entries?after=2").json()
    assert (document["entries"], document["next"], document["ended"]) == ([], 8, True)


def ids_of(client: httpx.Client, job_id: str, query: str, headers: dict[str, str]) -> list[int]:
    """The ids that an SSE stream brings."""
    events = sse_events(client.get(f"/jobs/{job_id}/stream?{query}", headers=headers).text)
    return [int(event["id"]) for event in events if "id" in event]


def ndjson(client: httpx.Client, job_id: str, after: int) -> list[str]:
    """The lines of an NDJSON stream."""
    response = client.get(f"/jobs/{job_id}/stream?after={after}", headers={"Accept": "application/x-ndjson"})
    return response.text.split("\n")[:-1]


def follow(stack: Stack, path: str) -> list[tuple[int, bytes]]:
    """Everything that a WebSocket there sends until it closes, the close included."""
    url = stack.webs[0].url.replace("http://", "ws://") + path
    socket = websocket.create_connection(url, header={"Authorization": f"Bearer {ALICE}"}, timeout=10)
    frames: list[tuple[int, bytes]] = []
    try:
        while not frames or frames[-1][0] != websocket.ABNF.OPCODE_CLOSE:
            frames.append(socket.recv_data())
    finally:
        socket.shutdown()
    return frames
