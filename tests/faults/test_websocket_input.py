"""WebSocket clients that send all the time and read nothing: the web's memory stays bounded, and comes back."""

from __future__ import annotations

import itertools
import json
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.bystander import Bystander
from tests.faults.jobs import Jobs
from tests.faults.vitals import broke, open_streams, rss_mb, unread_bytes
from tests.faults.wire import PING, TEXT, client_frame, request_head, upgrade_headers
from tests.stack import Stack, running_stack, wait_for

SOCKETS = 20
FLOOD_S = 4.0
GREW_AT_MOST_MB = 60
KEPT_AT_MOST_MB = 40
HALVES = 1300
HALVES_GREW_AT_MOST_MB = 180


def fragment(first: bool, payload: bytes) -> bytes:
    """A frame that is not the last of its message."""
    frame = client_frame(TEXT, payload)
    return bytes((0x01 if first else 0x00,)) + frame[1:]


def deflated(_job: str) -> Iterator[bytes]:
    """Messages of 64 KB, each of some 80 bytes on the wire (RFC 7692)."""
    deflater = zlib.compressobj(wbits=-15)
    while True:
        data = deflater.compress(b'{"type":"' + b"x" * 65_000 + b'"}') + deflater.flush(zlib.Z_SYNC_FLUSH)
        frame = client_frame(TEXT, data[:-4])
        yield bytes((frame[0] | 0x40,)) + frame[1:]


def large(_job: str) -> Iterator[bytes]:
    """Messages of 60 KB."""
    return itertools.repeat(client_frame(TEXT, b'{"type":"' + b"x" * 60_000 + b'"}'))


def small(_job: str) -> Iterator[bytes]:
    """Messages of eight bytes on the wire, many in one write."""
    return itertools.repeat(client_frame(TEXT, b"{}") * 1000)


def unfinished(_job: str) -> Iterator[bytes]:
    """One message of 1 MB, in pieces, whose end never comes."""
    yield fragment(True, b"x" * 50_000)
    for _ in range(19):
        yield fragment(False, b"x" * 50_000)


def pings(_job: str) -> Iterator[bytes]:
    """Pings, each of which wants a pong of the same size."""
    return itertools.repeat(client_frame(PING, b"x" * 125) * 100)


def follows(job: str) -> Iterator[bytes]:
    """To follow one job with a long log again and again."""
    return itertools.repeat(client_frame(TEXT, json.dumps({"type": "follow", "job": job}).encode()))


def follows_and_unfollows(job: str) -> Iterator[bytes]:
    """Likewise, leaving it in between."""
    unfollow = client_frame(TEXT, json.dumps({"type": "unfollow", "job": job}).encode())
    return itertools.repeat(next(follows(job)) + unfollow)


ONE, MANY = "/jobs/{job}/ws", "/ws"
FLOODS: Mapping[str, tuple[str, Callable[[str], Iterator[bytes]]]] = {
    # Where the route waits for the client to take the log, and looks at no message meanwhile.
    "deflated": (ONE, deflated),
    "large": (ONE, large),
    "small": (ONE, small),
    "pings": (ONE, pings),
    # Where it answers.
    "large, answered": (MANY, large),
    "small, answered": (MANY, small),
    "unfinished": (MANY, unfinished),
    "follows": (MANY, follows),
    "follows and unfollows": (MANY, follows_and_unfollows),
}


@contextmanager
def sockets(stack: Stack, path: str, count: int) -> Iterator[list[socket.socket]]:
    """So many WebSockets, whose clients offer to deflate."""
    web, opened = stack.webs[0], []
    headers = {**upgrade_headers(), "Sec-WebSocket-Extensions": "permessage-deflate"}
    try:
        for _ in range(count):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(10)
            sock.connect(("127.0.0.1", web.port))
            sock.sendall(request_head(path, f"127.0.0.1:{web.port}", headers))
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            sock.setblocking(False)
            opened.append(sock)
        yield opened
    finally:
        for sock in opened:
            sock.close()


def flood(opened: list[socket.socket], frames: Callable[[], Iterator[bytes]], seconds: float) -> int:
    """Send frames on all of them as fast as they are taken; how many bytes were."""
    until, sent = time.monotonic() + seconds, 0
    sources = {sock: frames() for sock in opened}
    left = dict.fromkeys(opened, b"")
    while sources and time.monotonic() < until:
        for sock, source in list(sources.items()):
            data = left[sock] or next(source, b"")
            if not data:
                del sources[sock]
                continue
            taken = 0
            with suppress(BlockingIOError):
                try:
                    taken = sock.send(data)
                except ConnectionError:
                    # It was closed, as it should be.
                    del sources[sock]
            left[sock] = data[taken:]
            sent += taken
    return sent


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLOODS)
def test_flood_of_input(directory: Path, kind: str) -> None:
    """20 clients send for seconds and read nothing: the web holds a bounded amount of it, gives it back with the
    connections, and another job's reader is served meanwhile."""
    with running_stack(directory, webs=1, workers=1, STALL_S=10) as stack:
        web, jobs = stack.webs[0], Jobs(stack)
        path, frames = FLOODS[kind]
        job = jobs.submit("long", tokens=20_000, rate=0)
        jobs.wait_for_end([job])
        with Bystander(stack) as bystander:
            bystander.calm(3)
            before_mb = rss_mb(web)
            with bystander.attack(), sockets(stack, path.format(job=job), SOCKETS) as opened:
                sent = flood(opened, lambda: frames(job), FLOOD_S)
            wait_for(lambda: open_streams(web) == 1, "what they held is free", 40)
            kept_mb = rss_mb(web) - before_mb
            bystander.report(
                f"WebSocket input, {kind}", sockets=SOCKETS, sent_mb=round(sent / 1e6, 1), kept_mb=round(kept_mb)
            )
            assert broke(web) == []
            assert bystander.grew_mb("web") < GREW_AT_MOST_MB
            assert kept_mb < KEPT_AT_MOST_MB
            assert bystander.silence_s < 1


@pytest.mark.slow
def test_messages_that_stop_half_way(directory: Path) -> None:
    """1,300 clients send 60 KB of a message each and then nothing: those without progress are closed for others, and a
    client whose large message arrives as a whole gets its answer."""
    half = fragment(True, b"x" * 60_000)
    with running_stack(directory, webs=1, workers=1, MAX_STREAMS=1500, STALL_S=30) as stack:
        web = stack.webs[0]
        with Bystander(stack) as bystander:
            bystander.calm(3)
            with bystander.attack(), sockets(stack, MANY, HALVES) as opened:
                flood(opened, lambda: iter([half]), FLOOD_S)
                wait_for(lambda: not unread_bytes(web), "all that was sent has been read")
                with sockets(stack, MANY, 1) as (one,):
                    one.setblocking(True)
                    one.settimeout(20)
                    one.sendall(client_frame(TEXT, b'{"type":"' + b"x" * 60_000 + b'"}'))
                    answer = one.recv(200)
                    assert answer[:1] == b"\x81", answer
            bystander.report("WebSocket input, half messages", sockets=HALVES)
            assert broke(web) == []
            assert bystander.grew_mb("web") < HALVES_GREW_AT_MOST_MB
            assert bystander.silence_s < 1
