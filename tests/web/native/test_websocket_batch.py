"""The log of a batch over WebSockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import websocket

from spool.batches.line import job_id_of
from tests.by_hand import HandWorker
from tests.stack import Stack


def frames_of(socket: websocket.WebSocket) -> list[dict[str, Any]]:
    """All messages up to the close, and its code."""
    found = []
    while True:
        opcode, data = socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return [*found, {"code": int.from_bytes(data[:2], "big"), "reason": data[2:].decode()}]
        found.append(json.loads(data))


@contextmanager
def open_socket(guarded: Stack, client: httpx.Client, path: str, **options: Any) -> Iterator[websocket.WebSocket]:
    """A socket with the client's key."""
    headers = {"Authorization": client.headers["Authorization"]}
    url = guarded.webs[0].url.replace("http://", "ws://") + path
    socket = websocket.create_connection(url, timeout=30, header=headers, **options)
    try:
        yield socket
    finally:
        socket.shutdown()


def test_log_over_a_websocket(guarded: Stack, alice: httpx.Client, worker: HandWorker, ended: str) -> None:
    """A frame is an entry, from the cursor on; after the end the socket closes with 1000."""
    with open_socket(guarded, alice, f"/batches/{ended}/ws?after=1") as socket:
        worker.finish(worker.take_job(job_id_of(ended, 2)))
        *entries, closed = frames_of(socket)
    assert entries == alice.get(f"/batches/{ended}/entries").json()["entries"][1:]
    assert ([entry["kind"] for entry in entries], closed["code"]) == (["line", "line", "done"], 1000)


def test_cancel_over_a_websocket(guarded: Stack, alice: httpx.Client, ended: str) -> None:
    """``cancel`` cancels the batch, and its log ends on the same socket."""
    with open_socket(guarded, alice, f"/batches/{ended}/ws?after=latest") as socket:
        socket.send('{"type": "cancel"}')
        *entries, closed = frames_of(socket)
    assert ([entry["kind"] for entry in entries], closed["code"]) == (["line", "cancelled"], 1000)


def test_websocket_that_is_refused(guarded: Stack, alice: httpx.Client, bob: httpx.Client, ended: str) -> None:
    """Another owner's batch is not there, and a batch's log is no text."""
    path = f"/batches/{ended}/ws"
    with open_socket(guarded, bob, path) as socket:
        assert frames_of(socket)[-1]["code"] == 4404
    with open_socket(guarded, alice, path, subprotocols=["spool.text"]) as socket:
        assert frames_of(socket)[-1]["code"] == 1008


def test_batch_beside_jobs_on_a_websocket(guarded: Stack, alice: httpx.Client, worker: HandWorker, ended: str) -> None:
    """``follow`` with a batch sends its entries under its name, until ``ended``; errors name it too."""
    with open_socket(guarded, alice, "/ws") as socket:
        for message in (
            {"type": "follow", "batch": "b0-" + "0" * 26},
            {"type": "follow", "batch": ended, "snapshot": True},
            {"type": "follow", "batch": ended, "after": 1},
        ):
            socket.send(json.dumps(message))
        found = [json.loads(socket.recv()) for _ in range(3)]
        assert [one["type"] for one in found] == ["error", "error", "entry"]
        assert [one.get("status") for one in found] == [404, 422, None]
        worker.finish(worker.take_job(job_id_of(ended, 2)))
        found += [json.loads(socket.recv()) for _ in range(3)]
    assert {one["batch"] for one in found[2:]} == {ended}
    assert [one["entry"]["id"] for one in found[2:5]] == [2, 3, 4]
    assert (found[5]["type"], found[5]["last"]) == ("ended", 4)
