"""A client for each transport, all with one shape: read a job's log from a cursor, in part or to its end.

They are written against the wire, with nothing of Spool's own code, so that they see what any client would.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import websocket

from tests.loopback import NO_CERTIFICATES


@dataclass
class Reading:
    """What a reader saw. ``raw`` are the entries' bytes where the transport carries them as they are."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    other: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False

    @property
    def ids(self) -> list[int]:
        """The ids, in the order of arrival."""
        return [entry["id"] for entry in self.entries]

    @property
    def text(self) -> str:
        """The answer: tokens' text, from the last restart on."""
        parts: list[str] = []
        for entry in self.entries:
            if entry["kind"] == "restarted":
                parts.clear()
            elif entry["kind"] == "token":
                parts.append(entry["text"])
        return "".join(parts)

    def add(self, raw: bytes) -> None:
        """One JSON message: an entry, or something else with a ``type``."""
        document = json.loads(raw)
        if "kind" in document:
            self.entries.append(document)
            self.raw.append(raw)
            self.ended = document["kind"] in ("done", "failed", "cancelled")
        else:
            self.other.append(document)


Read = Callable[..., Reading]


def sse_events(response: httpx.Response) -> Iterator[dict[str, str]]:
    """The events of a stream, by the specification's own rules for fields and blank lines."""
    event: dict[str, str] = {}
    rest = b""
    for chunk in response.iter_raw():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if not line:
                if "data" in event:
                    yield event
                event = {}
            elif not line.startswith(b":"):
                name, _, value = line.decode().partition(": ")
                event[name] = value


def path_of(log_id: str) -> str:
    """The path of a job, or of a batch."""
    return f"/{'batches' if log_id[0] == 'b' else 'jobs'}/{log_id}"


def read_sse(base: str, job: str, after: int = 0, stop_after: int | None = None, **options: Any) -> Reading:
    """Server-sent events; resumes by Last-Event-ID."""
    reading = Reading()
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(after)} if after else {}), **options}
    with httpx.stream(
        "GET", f"{base}{path_of(job)}/stream", headers=headers, timeout=60, verify=NO_CERTIFICATES
    ) as response:
        if response.status_code == 204:
            reading.ended = True
            return reading
        response.raise_for_status()
        for event in sse_events(response):
            reading.add(event["data"].encode())
            if "id" in event and event["event"] != "gap":
                assert int(event["id"]) == reading.ids[-1]
                assert event["event"] == reading.entries[-1]["kind"]
            if stop_after is not None and len(reading.entries) >= stop_after:
                break
    return reading


def read_ndjson(base: str, job: str, after: int = 0, stop_after: int | None = None, **options: Any) -> Reading:
    """Newline-delimited JSON."""
    reading = Reading()
    headers = {"Accept": "application/x-ndjson", **options}
    rest = b""
    with httpx.stream(
        "GET", f"{base}{path_of(job)}/stream?after={after}", headers=headers, timeout=60, verify=NO_CERTIFICATES
    ) as response:
        response.raise_for_status()
        for chunk in response.iter_raw():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                reading.add(line)
                if stop_after is not None and len(reading.entries) >= stop_after:
                    return reading
    assert not rest, "a line was cut"
    return reading


def read_websocket(base: str, job: str, after: int = 0, stop_after: int | None = None, **options: Any) -> Reading:
    """A WebSocket of one job."""
    reading = Reading()
    url = f"{base.replace('http', 'ws', 1)}{path_of(job)}/ws?after={after}"
    connection = websocket.create_connection(url, timeout=60, header=options)
    try:
        while stop_after is None or len(reading.entries) < stop_after:
            opcode, data = connection.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                code = int.from_bytes(data[:2], "big")
                assert code == 1000, f"closed with {code}: {data[2:]!r}"
                reading.ended = True
                break
            reading.add(data)
    finally:
        connection.close(timeout=1)
        connection.shutdown()
    return reading


def read_websocket_many(base: str, job: str, after: int = 0, stop_after: int | None = None, **options: Any) -> Reading:
    """A WebSocket of many jobs, following one."""
    reading = Reading()
    connection = websocket.create_connection(f"{base.replace('http', 'ws', 1)}/ws", timeout=60, header=options)
    try:
        connection.send(json.dumps({"type": "follow", "batch" if job[0] == "b" else "job": job, "after": after}))
        while stop_after is None or len(reading.entries) < stop_after:
            message = json.loads(connection.recv())
            assert message["type"] in ("entry", "ended"), message
            if message["type"] == "ended":
                reading.ended = True
                break
            reading.add(json.dumps(message["entry"], separators=(",", ":"), ensure_ascii=False).encode())
    finally:
        connection.close(timeout=1)
        connection.shutdown()
    return reading


def read_long_polling(base: str, job: str, after: int = 0, stop_after: int | None = None, **options: Any) -> Reading:
    """Long polling, the next request from the answer's ``next``."""
    return _poll(base, job, after, stop_after, wait="25", limit="37", **options)


def read_short_polling(base: str, job: str, after: int = 0, stop_after: int | None = None, **options: Any) -> Reading:
    """Polling with ``wait=0``."""
    return _poll(base, job, after, stop_after, wait="0", limit="1000", **options)


def _poll(base: str, job: str, after: int, stop_after: int | None, wait: str, limit: str, **options: Any) -> Reading:
    reading = Reading()
    with httpx.Client(base_url=base, timeout=60, headers=options, verify=NO_CERTIFICATES) as client:
        while not reading.ended:
            answer = client.get(f"{path_of(job)}/entries", params={"after": after, "wait": wait, "limit": limit})
            answer.raise_for_status()
            page = answer.json()
            for entry in page["entries"]:
                reading.add(json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode())
                if stop_after is not None and len(reading.entries) >= stop_after:
                    return reading
            assert page["next"] == (reading.ids[-1] if page["entries"] else after)
            after, reading.ended = page["next"], page["ended"]
            if wait == "0" and not page["entries"]:
                time.sleep(0.05)
    return reading


def read_durable_events(base: str, job: str, after: int = 0, stop_after: int | None = None, **options: Any) -> Reading:
    """A durable stream, as server-sent events."""
    reading = Reading()
    asked = {"offset": f"{after:018d}", "live": "sse"}
    with httpx.stream(
        "GET", f"{base}/durable/{job}", params=asked, headers=options, timeout=60, verify=NO_CERTIFICATES
    ) as response:
        response.raise_for_status()
        for event in sse_events(response):
            document = json.loads(event["data"])
            if event["event"] == "data":
                if _add_all(reading, document, stop_after):
                    break
                continue
            assert int(document["streamNextOffset"]) == (reading.ids[-1] if reading.ids else after)
            reading.ended = document.get("streamClosed", False)
    return reading


def read_durable_polls(base: str, job: str, after: int = 0, stop_after: int | None = None, **options: Any) -> Reading:
    """A durable stream, as its clients read it: what there is, then by long polling."""
    reading, asked = Reading(), {"offset": f"{after:018d}"}
    with httpx.Client(base_url=base, timeout=60, headers=options, verify=NO_CERTIFICATES) as client:
        while not reading.ended:
            answer = client.get(f"/durable/{job}", params=asked)
            answer.raise_for_status()
            if answer.status_code != 204 and _add_all(reading, answer.json(), stop_after):
                break
            asked["offset"] = answer.headers["Stream-Next-Offset"]
            assert int(asked["offset"]) == (reading.ids[-1] if reading.ids else after)
            if "Stream-Up-To-Date" in answer.headers:
                asked["live"] = "long-poll"
            reading.ended = "Stream-Closed" in answer.headers
    return reading


def _add_all(reading: Reading, entries: list[dict[str, Any]], stop_after: int | None) -> bool:
    """Add entries; whether the reader has enough."""
    for entry in entries:
        reading.add(json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode())
        if stop_after is not None and len(reading.entries) >= stop_after:
            return True
    return False


READERS: dict[str, Read] = {
    "sse": read_sse,
    "ndjson": read_ndjson,
    "websocket": read_websocket,
    "websocket_many": read_websocket_many,
    "long_polling": read_long_polling,
    "short_polling": read_short_polling,
    "durable_events": read_durable_events,
    "durable_polls": read_durable_polls,
}
"""The transports that carry entries. Bare text and the plain answer carry the text alone, and have their own tests."""
BATCH_READERS = {name: read for name, read in READERS.items() if not name.startswith("durable_")}
"""Those of a batch's log: only a job's log is a durable stream."""


def read_text(base: str, job: str, after: int = 0, **headers: str) -> str:
    """The bare text. Raises ``httpx.RemoteProtocolError`` if it was cut."""
    headers = {"Accept": "text/plain", **headers}
    response = httpx.get(
        f"{base}{path_of(job)}/stream?after={after}", headers=headers, timeout=60, verify=NO_CERTIFICATES
    )
    response.raise_for_status()
    return response.text


def read_text_websocket(base: str, job: str) -> str:
    """The bare text over a WebSocket."""
    url = f"{base.replace('http', 'ws', 1)}{path_of(job)}/ws"
    connection = websocket.create_connection(url, timeout=60, subprotocols=["spool.text"])
    parts = []
    try:
        assert connection.getsubprotocol() == "spool.text"
        while True:
            opcode, data = connection.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return "".join(parts)
            parts.append(data.decode())
    finally:
        connection.close(timeout=1)
        connection.shutdown()


def read_plain_answer(base: str, job: str) -> str:
    """The job itself, polled until it has ended."""
    etag = ""
    with httpx.Client(base_url=base, timeout=60, verify=NO_CERTIFICATES) as client:
        while True:
            answer = client.get(f"/jobs/{job}", headers={"If-None-Match": etag} if etag else {})
            if answer.status_code != 304:
                answer.raise_for_status()
                document = answer.json()
                etag = answer.headers["etag"]
                if document["status"] in ("succeeded", "failed", "cancelled"):
                    return str(document["text"])
            time.sleep(0.05)
