"""Where a reader begins: at the end, some entries before it, or with the answer so far; on every transport."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx
import pytest
import websocket

from spool.jobs.entries import Entry, Kind
from spool.jobs.job import Job, Status
from spool.jobs.log import run_of
from spool.keys import job as job_key
from tests.by_hand import HandWorker
from tests.stack import Stack
from tests.web.conftest import ALICE
from web.native.beginning import Snapshot

RUNNING = replace(Job("j0-00000000000000000000000000", Status.RUNNING, "alice", "demo", 1.0, 2.0), attempt=1)
AT = "2026-11-30T08:00:00.000Z"
ENDED_TEXT = {"text": "Hello", "reasoning": "", "tool_calls": [], "usage": None, "attempt": 1, "last": 3}


def entries(*kinds: tuple[Kind, dict[str, Any]]) -> list[bytes]:
    """A log of these entries."""
    return [Entry(number, kind, AT, fields).encode() for number, (kind, fields) in enumerate(kinds, 1)]


def snapshot_of(*kinds: tuple[Kind, dict[str, Any]]) -> dict[str, Any]:
    """The snapshot of such a log."""
    snapshot = Snapshot(RUNNING)
    snapshot.add_all(entries(*kinds))
    return dict(snapshot.document())


def token(text: str) -> tuple[Kind, dict[str, Any]]:
    """A piece of text."""
    return Kind.TOKEN, {"text": text}


def test_snapshot_of_an_empty_log() -> None:
    """Before the first entry there is no text, and the entries follow from the first."""
    document = snapshot_of()
    assert (document["last"], document["text"], document["tool_calls"], document["usage"]) == (0, "", [], None)


def test_snapshot_of_a_result() -> None:
    """The pieces of a result are joined; those of an attempt that was restarted no longer count."""
    restarted = (Kind.RESTARTED, {"attempt": 2, "reason": "worker_lost"})
    before, *after = [(Kind.RESULT, {"body": body}) for body in ("[1", "{", "}")]
    document = snapshot_of(before, restarted, *after)
    assert (document["result"], document["last"], document["attempt"]) == ("{}", 4, 2)


def test_snapshot_joins_pieces() -> None:
    """Texts, reasoning and the arguments of each tool call are joined."""
    document = snapshot_of(
        (Kind.STARTED, {"attempt": 1, "model": "demo"}),
        (Kind.REASONING, {"text": "Hm"}),
        (Kind.REASONING, {"text": "m."}),
        token("Blue"),
        token(" light."),
        (Kind.TOOL_CALL, {"index": 0, "call_id": "c1", "name": "look", "arguments": '{"a"'}),
        (Kind.TOOL_CALL, {"index": 0, "call_id": None, "name": None, "arguments": ":1}"}),
        (Kind.USAGE, {"input_tokens": 3, "output_tokens": 2}),
    )
    assert (document["text"], document["reasoning"], document["last"]) == ("Blue light.", "Hmm.", 8)
    assert document["tool_calls"] == [{"index": 0, "call_id": "c1", "name": "look", "arguments": '{"a":1}'}]
    assert document["usage"] == {"input_tokens": 3, "output_tokens": 2}


def test_snapshot_of_a_restarted_attempt() -> None:
    """What an earlier attempt wrote does not count; what a continued one continues does."""
    restarted, continued = {"attempt": 2, "reason": "worker_lost"}, {"attempt": 3, "reason": "worker_lost"}
    document = snapshot_of(
        token("old"), (Kind.RESTARTED, restarted), token("ne"), (Kind.CONTINUED, continued), token("w")
    )
    assert (document["text"], document["attempt"]) == ("new", 3)


def test_snapshot_leaves_the_end_to_the_stream() -> None:
    """The terminal entry is sent as an entry, so that clients see the end as ever."""
    document = snapshot_of(token("a"), (Kind.DONE, {"finish_reason": "stop"}))
    assert (document["text"], document["last"]) == ("a", 1)


def test_snapshot_of_a_run() -> None:
    """A run of text counts like its entries."""
    rows = [(number, raw) for number, raw in enumerate(entries(token("a"), token("b")), 1)]
    run, snapshot = run_of(rows), Snapshot(RUNNING)
    assert run is not None
    assert snapshot.add_run(run)
    assert (snapshot.document()["text"], snapshot.document()["last"]) == ("ab", 2)


@pytest.fixture(scope="module")
def ended(alice: httpx.Client, worker: HandWorker) -> str:
    """A job whose log is started, Hel, lo, done."""
    claim = worker.take_job(alice.post("/jobs", json={"prompt": "x"}).json()["id"])
    worker.say(claim, "Hel", "lo")
    worker.finish(claim)
    return claim.job.id


@pytest.fixture(scope="module")
def running(alice: httpx.Client, worker: HandWorker) -> str:
    """A job that runs, with the entries started, Hel, lo."""
    claim = worker.take_job(alice.post("/jobs", json={"prompt": "x"}).json()["id"])
    worker.say(claim, "Hel", "lo")
    return claim.job.id


def lines(client: httpx.Client, path: str, accept: str, count: int) -> list[str]:
    """The first lines of a stream that may not end."""
    with client.stream("GET", path, headers={"Accept": accept}) as response:
        assert response.status_code == 200
        received: Iterator[str] = (line for line in response.iter_lines() if line.strip())
        return [next(received) for _ in range(count)]


def messages(stack: Stack, path: str, count: int, *sent: dict[str, Any]) -> list[dict[str, Any]]:
    """The first messages of a WebSocket, after these are sent."""
    url = stack.webs[0].url.replace("http://", "ws://") + path
    with closing(websocket.create_connection(url, header={"Authorization": f"Bearer {ALICE}"}, timeout=10)) as socket:
        for message in sent:
            socket.send(json.dumps(message))
        return [json.loads(socket.recv()) for _ in range(count)]


@pytest.mark.parametrize(
    ("after", "ids"), [("-1", [4]), ("-3", [2, 3, 4]), ("-4", [1, 2, 3, 4]), ("-1000", [1, 2, 3, 4])]
)
def test_last_entries(alice: httpx.Client, guarded: Stack, ended: str, after: str, ids: list[int]) -> None:
    """``-N`` begins with the last N entries, or with the first of fewer, on every transport."""
    polled = alice.get(f"/jobs/{ended}/entries?after={after}&wait=0").json()
    assert [entry["id"] for entry in polled["entries"]] == ids
    ndjson = alice.get(f"/jobs/{ended}/stream?after={after}", headers={"Accept": "application/x-ndjson"}).text
    assert [json.loads(line)["id"] for line in ndjson.split("\n")[:-1]] == ids
    sse = alice.get(f"/jobs/{ended}/stream?after={after}").text
    assert [int(line[4:]) for line in sse.split("\n") if line.startswith("id: ")] == [ids[0] - 1, *ids]
    assert [one["id"] for one in messages(guarded, f"/jobs/{ended}/ws?after={after}", len(ids))] == ids
    follow = {"type": "follow", "job": ended, "after": int(after)}
    assert [one["entry"]["id"] for one in messages(guarded, "/ws", len(ids), follow)] == ids


def test_last_entries_after_missing_ones(guarded: Stack, alice: httpx.Client, worker: HandWorker) -> None:
    """``-N`` counts the entries that exist, so it never begins with a gap."""
    claim = worker.take_job(alice.post("/jobs", json={"prompt": "x"}).json()["id"])
    worker.say(claim, *"abcdef")
    guarded.redis.link.call("XDEL", f"{job_key(claim.job.id)}:log", "1-0", "2-0")
    polled = alice.get(f"/jobs/{claim.job.id}/entries?after=-1000&wait=0").json()
    assert ([entry["id"] for entry in polled["entries"]], polled["gap"]) == ([3, 4, 5, 6, 7], None)


def test_latest_of_an_ended_log(alice: httpx.Client, ended: str) -> None:
    """Nothing follows the end of an ended log."""
    assert alice.get(f"/jobs/{ended}/stream?after=latest").status_code == 204
    polled = alice.get(f"/jobs/{ended}/entries?after=latest&wait=0").json()
    assert (polled["entries"], polled["next"], polled["ended"]) == ([], 4, True)


def test_latest_of_a_running_log(alice: httpx.Client, running: str) -> None:
    """``latest`` begins at the end as it is; the first event carries it, from which EventSource reconnects."""
    polled = alice.get(f"/jobs/{running}/entries?after=latest&wait=0").json()
    assert (polled["entries"], polled["next"]) == ([], 3)
    opening = lines(alice, f"/jobs/{running}/stream?after=latest", "text/event-stream", 4)
    assert opening[1:3] == ["id: 3", "event: attached"]
    assert json.loads(opening[3].removeprefix("data: "))["after"] == 3


def test_snapshot_over_http(alice: httpx.Client, ended: str) -> None:
    """The snapshot is the first message, its id the cursor, and the entries after it follow."""
    sse = [block.split("\n") for block in alice.get(f"/jobs/{ended}/stream?snapshot=1").text.split("\n\n")[:-1]]
    assert sse[1][:2] == ["id: 3", "event: snapshot"]
    assert json.loads(sse[1][2].removeprefix("data: ")) == {"type": "snapshot", **ENDED_TEXT}
    assert [block[1] for block in sse[2:]] == ["event: done"]
    ndjson = alice.get(f"/jobs/{ended}/stream?snapshot=1", headers={"Accept": "application/x-ndjson"}).text
    first, second = map(json.loads, ndjson.split("\n")[:-1])
    assert first == {"type": "snapshot", **ENDED_TEXT}
    assert second["kind"] == "done"
    polled = alice.get(f"/jobs/{ended}/entries?snapshot=1").json()
    assert (polled["snapshot"], polled["next"], polled["ended"]) == ({"type": "snapshot", **ENDED_TEXT}, 4, True)
    assert [entry["kind"] for entry in polled["entries"]] == ["done"]


def test_snapshot_of_a_running_job_answers_at_once(alice: httpx.Client, running: str) -> None:
    """A long poll that asks for a snapshot does not wait for an entry."""
    polled = alice.get(f"/jobs/{running}/entries?snapshot=1&wait=55").json()
    assert (polled["snapshot"]["text"], polled["entries"], polled["next"]) == ("Hello", [], 3)


def test_snapshot_over_websocket(guarded: Stack, ended: str) -> None:
    """The same as messages; the one on ``/ws`` names its job."""
    first, second = messages(guarded, f"/jobs/{ended}/ws?snapshot=1", 2)
    assert first == {"type": "snapshot", **ENDED_TEXT}
    assert second["kind"] == "done"
    first, second = messages(guarded, "/ws", 2, {"type": "follow", "job": ended, "snapshot": True})
    assert first == {"type": "snapshot", **ENDED_TEXT, "job": ended}
    assert second["entry"]["kind"] == "done"


def test_client_with_a_cursor_gets_no_snapshot(alice: httpx.Client, ended: str) -> None:
    """A reconnect has the same URL as the first request; its Last-Event-ID says that the text is there."""
    sse = alice.get(f"/jobs/{ended}/stream?snapshot=1", headers={"Last-Event-ID": "3"}).text
    assert "event: snapshot" not in sse
    assert "snapshot" not in alice.get(f"/jobs/{ended}/entries?snapshot=1&after=3").json()


def test_bare_text_has_no_snapshot(alice: httpx.Client, ended: str) -> None:
    """Bare text is the answer itself."""
    assert alice.get(f"/jobs/{ended}/stream?snapshot=1", headers={"Accept": "text/plain"}).text == "Hello"


def test_visible_heartbeats(alice: httpx.Client, guarded: Stack, running: str) -> None:
    """With ``heartbeat=event`` a silent stream sends messages with its cursor, on every transport."""
    path = f"/jobs/{running}/stream?after=latest&heartbeat=event"
    sse = lines(alice, path, "text/event-stream", 6)
    assert sse[4:] == ["event: heartbeat", 'data: {"type":"heartbeat","last":3}']
    assert json.loads(lines(alice, path, "application/x-ndjson", 1)[0]) == {"type": "heartbeat", "last": 3}
    assert messages(guarded, f"/jobs/{running}/ws?after=latest&heartbeat=event", 1) == [
        {"type": "heartbeat", "last": 3}
    ]
    follow = {"type": "follow", "job": running, "after": "latest"}
    assert messages(guarded, "/ws?heartbeat=event", 1, follow) == [{"type": "heartbeat", "job": running, "last": 3}]


@pytest.mark.parametrize("query", ["snapshot=yes", "heartbeat=loud"])
def test_unknown_way_to_begin(alice: httpx.Client, running: str, query: str) -> None:
    """Other values are refused by name."""
    response = alice.get(f"/jobs/{running}/stream?{query}")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, query.partition("=")[0])


@pytest.mark.parametrize(
    "fields",
    [{"after": "5"}, {"after": -1001}, {"after": True}, {"snapshot": 1}],
    ids=["text", "far", "bool", "number"],
)
def test_unknown_way_to_begin_on_many(guarded: Stack, running: str, fields: dict[str, Any]) -> None:
    """A follow with another value is answered with an error that names the field."""
    (message,) = messages(guarded, "/ws", 1, {"type": "follow", "job": running, **fields})
    assert (message["type"], message["status"], next(iter(fields)) in message["detail"]) == ("error", 422, True)
