"""One connection of a reader, over WebSockets; the other transports are in ``transports``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from tests.faults.following import Turn
from tests.faults.line import Line
from tests.faults.wire import CLOSE, PING, PONG, TEXT, Frames, Malformed, client_frame, upgrade_headers


async def _upgrade(line: Line, path: str) -> Turn | None:
    head = await line.get(path, upgrade_headers())
    return None if head.status == 101 else await line.refused(head)


async def _messages(line: Line, closed: list[int]) -> AsyncIterator[bytes]:
    """The text messages, until the socket closes; pings are answered. A close frame's code goes into ``closed``."""
    frames = Frames()
    async for data in line.data():
        for opcode, payload in frames.feed(data):
            if opcode == TEXT:
                yield payload
            elif opcode == PING:
                line.writer.write(client_frame(PONG, payload))
            elif opcode == CLOSE:
                line.writer.write(client_frame(CLOSE, payload[:2]))
                closed.append(int.from_bytes(payload[:2]))
                return


def _closed(line: Line, closed: list[int]) -> Turn:
    code = closed[0] if closed else None
    if code in (1001, 1013):
        return Turn(f"closed {code}", pause_s=0.1 if code == 1001 else 1.0)
    if code not in (None, 1000):
        expected = code is not None and code - 4000 in line.expects
        return Turn(f"closed {code}", error="" if expected else f"closed with {code}", over=code in (4404, 4410, 1008))
    if line.following.ended or (code and line.at_the_end):
        return Turn("ended", over=True)
    return Turn("closed 1000", error="closed with 1000 before the terminal entry") if code else Turn("cut")


async def websocket(line: Line) -> Turn:
    """A WebSocket of one job."""
    following, closed = line.following, list[int]()
    refused = await _upgrade(line, f"/jobs/{following.job}/ws?after={following.cursor}")
    if refused is not None:
        return refused
    async for raw in _messages(line, closed):
        if raw.startswith(b'{"id":'):
            following.take(raw)
        elif (message := json.loads(raw)).get("type") == "gap":
            line.gap(message)
        elif message.get("type") in ("queued", "notice"):
            following.tell(message)
        else:
            raise Malformed(f"message {raw[:80]!r}")
    return _closed(line, closed)


async def websocket_many(line: Line) -> Turn:
    """A WebSocket of many jobs, following one."""
    following, closed = line.following, list[int]()
    refused = await _upgrade(line, "/ws")
    if refused is not None:
        return refused
    follow = {"type": "follow", "job": following.job, "after": following.cursor}
    line.writer.write(client_frame(TEXT, json.dumps(follow).encode()))
    head = b'{"type":"entry","job":"%b","entry":' % following.job.encode()
    async for raw in _messages(line, closed):
        if raw.startswith(head):
            following.take(raw[len(head) : -1])
            continue
        match json.loads(raw):
            case {"type": "ended", "last": last}:
                if last != following.cursor or (following.ids and not following.ended):
                    return Turn("ended", error=f"ended at {last}, and not after a terminal entry", over=True)
                return Turn("ended", over=True)
            case {"type": "gap", **gap}:
                line.gap(gap)
            case {"type": "queued" | "notice"} as message:
                following.tell(message)
            case {"type": "error", "status": 503}:
                return Turn("unavailable", pause_s=1.0)
            case {"type": "error", "status": int(status)} if status in line.expects:
                return Turn(f"status {status}", over=True)
            case _:
                raise Malformed(f"message {raw[:200]!r}")
    return _closed(line, closed)
