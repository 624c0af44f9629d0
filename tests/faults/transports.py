"""One connection of a reader, per transport: ask from the cursor on, take what comes, and say how it ended."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.faults.following import Turn
from tests.faults.line import Line
from tests.faults.sockets import websocket, websocket_many
from tests.faults.wire import Body, Lines, Malformed, event_fields

_POLL_S = 0.2
_LONG_POLL_S = 10
_decode = json.JSONDecoder().raw_decode

Transport = Callable[[Line], Awaitable[Turn]]


async def sse(line: Line) -> Turn:
    """Server-sent events, as EventSource reads them: Last-Event-ID once there is one."""
    following, said, retry_s = line.following, None, 1.0
    resumed = {"Last-Event-ID": str(following.cursor)} if following.ids else {}
    query = f"?after={following.after}" if following.after and not resumed else ""
    head = await line.get(f"/jobs/{following.job}/stream{query}", {"Accept": "text/event-stream", **resumed})
    if head.status == 204:
        missing = bool(following.ids) and not (following.ended or following.gaps)
        return Turn("ended", error="204 before the terminal entry" if missing else "", over=True)
    if head.status != 200:
        return await line.refused(head)
    events, body = Lines(b"\n\n"), Body(head)
    async for data in line.body(body):
        for event in events.feed(data):
            fields = event_fields(event)
            retry_s = int(fields.get(b"retry", retry_s * 1000)) / 1000
            name = fields.get(b"event", b"").decode()
            if name in ("reconnect", "unavailable"):
                said = Turn(name, pause_s=retry_s)
            elif name == "gap":
                line.gap(json.loads(fields[b"data"]))
                following.cursor = int(fields[b"id"])
            elif name in ("queued", "notice"):
                if b"id" in fields:
                    raise Malformed(f"a message that is no entry, with an id: {event[:80]!r}")
                following.tell(json.loads(fields[b"data"]))
            elif name and name != "attached":
                following.take(fields[b"data"])
                if (fields.get(b"id"), fields[b"event"]) != (b"%d" % following.cursor, following.kind):
                    raise Malformed(f"event {event[:80]!r}")
    turn = line.end(body, said)
    return Turn(turn.why, max(turn.pause_s, retry_s), turn.error, turn.over)


async def ndjson(line: Line) -> Turn:
    """NDJSON with pings, so that silence can be told from death."""
    following, said = line.following, None
    path = f"/jobs/{following.job}/stream?after={following.cursor}&ping=1"
    head = await line.get(path, {"Accept": "application/x-ndjson"})
    if head.status != 200:
        return await line.refused(head)
    lines, body = Lines(b"\n"), Body(head)
    async for data in line.body(body):
        for raw in lines.feed(data):
            if raw.startswith(b'{"id":'):
                following.take(raw)
                continue
            match json.loads(raw):
                case {"type": "reconnect" | "unavailable" as why}:
                    said = Turn(str(why), pause_s=0.1 if why == "reconnect" else 1.0)
                case {"type": "gap", **gap}:
                    line.gap(gap)
                case {"type": "gone"}:
                    said = Turn("gone", error="" if 410 in line.expects else "gone", over=True)
                case {"type": "queued" | "notice"} as message:
                    following.tell(message)
                case {"type": "ping"}:
                    pass
                case _:
                    raise Malformed(f"line {raw[:80]!r}")
    if body.whole and lines.rest:
        raise Malformed("the last line has no end")
    return line.end(body, said)


async def text(line: Line) -> Turn:
    """The bare text: it has no ids, so it is read once and not resumed."""
    following = line.following
    head = await line.get(f"/jobs/{following.job}/stream?after={following.after}", {"Accept": "text/plain"})
    if head.status != 200:
        return await line.refused(head)
    body = Body(head)
    with suppress(OSError):
        async for data in line.body(body):
            following.text += data
    following.ended = body.whole
    return Turn("ended" if body.whole else "cut", over=True)


async def _poll(line: Line, query: str) -> Turn | None:
    """One request; how the reading ends with it, or None to go on."""
    following = line.following
    head = await line.get(f"/jobs/{following.job}/entries?after={following.cursor}&{query}", {})
    if head.status != 200:
        return await line.refused(head)
    body = Body(head)
    page = b"".join([data async for data in line.body(body)]).decode()
    if not body.whole:
        return Turn("cut")
    start = '{"entries":['
    at = len(start)
    if not page.startswith(start):
        raise Malformed(f"page {page[:80]!r}")
    while page[at] == "{":
        _, end = _decode(page, at)
        following.take(page[at:end].encode())
        at = end + 1 if page[end] == "," else end
    tail = json.loads("{" + page[at + 2 :])
    if tail["gap"] is not None:
        line.gap(tail["gap"])
        following.cursor = max(following.cursor, tail["next"])
    if tail.get("queued"):
        following.tell(tail["queued"])
    if tail["next"] != following.cursor:
        raise Malformed(f"next is {tail['next']} after entry {following.cursor}")
    if tail["ended"]:
        missing = bool(following.ids) and not following.ended
        return Turn("ended", error="ended before the terminal entry" if missing else "", over=True)
    return Turn("poll") if head.headers.get("connection", "").lower() == "close" else None


async def long_polling(line: Line) -> Turn:
    """Long polling on one connection, in small pages."""
    while (turn := await _poll(line, f"wait={_LONG_POLL_S}&limit=37")) is None:
        pass
    return turn


async def short_polling(line: Line) -> Turn:
    """Polling with ``wait=0``; each time on a new connection, and so at another web."""
    return await _poll(line, "wait=0&limit=1000") or Turn("poll", pause_s=_POLL_S)


TRANSPORTS: dict[str, Transport] = {
    "sse": sse,
    "ndjson": ndjson,
    "text": text,
    "websocket": websocket,
    "websocket_many": websocket_many,
    "long_polling": long_polling,
    "short_polling": short_polling,
}
