"""A WebSocket whose reader pauses in a burst of large frames while pings go to and fro: every frame comes whole."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spool.jobs.claims import Claim
from tests.by_hand import HandWorker
from tests.faults.checker import check_log, read_log
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.peers import Peer, attach_to
from tests.faults.wire import CLOSE, PING, PONG, TEXT, Frames, client_frame
from tests.stack import Stack, running_stack

PIECE = 1_000_000
PIECES = 20
PAUSE_S = 2.0


def burst(hand: HandWorker, claims: list[Claim]) -> None:
    """20 MB of entries on these logs together."""
    for number in range(PIECES):
        hand.say(claims[number % len(claims)], f"{number:04d}" * (PIECE // 4))


class Pinging:
    """A client that asks all the time whether the server is there, and keeps what comes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = Frames()
        self.messages: list[bytes] = []
        self.pings = 0
        self.pongs = 0
        self.closed: int | None = None

    def ping(self) -> None:
        """Ask once more."""
        self._sock.sendall(client_frame(PING, b"%d" % self.pings))
        self.pings += 1

    def take_nothing(self, seconds: float) -> None:
        """Ask, and read nothing."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.ping()
            time.sleep(0.02)

    def read_until(self, enough: Callable[[], bool]) -> None:
        """Read, and ask again after each answer."""
        while not enough():
            data = self._sock.recv(65_536)
            assert data, f"cut after {len(self.messages)} messages"
            for opcode, payload in self._frames.feed(data):
                if opcode == TEXT:
                    self.messages.append(payload)
                elif opcode == PONG:
                    assert payload == b"%d" % self.pongs
                    self.pongs += 1
                    if self.pongs == self.pings:
                        self.ping()
                else:
                    assert opcode == CLOSE
                    self.closed = int.from_bytes(payload[:2])

    def ended(self) -> int:
        """How many logs a socket of many has said to be over."""
        return sum(message.startswith(b'{"type":"ended"') for message in self.messages)


def begin(stack: Stack, hand: HandWorker, count: int) -> list[Claim]:
    """Running jobs that say nothing yet."""
    jobs = Jobs(stack)
    return [hand.take_job(jobs.submit(f"burst {number}")) for number in range(count)]


def follow(peer: Peer, claims: list[Claim]) -> None:
    """Follow jobs on a socket of many."""
    for claim in claims:
        peer.sock.sendall(client_frame(TEXT, json.dumps({"type": "follow", "job": claim.job.id}).encode()))


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["websocket", "websocket_many"])
def test_reader_that_pauses_in_a_burst(directory: Path, transport: str) -> None:
    """20 MB in frames of 1 MB to a reader that takes nothing for two seconds, and pings: each entry comes whole and
    once, each ping is answered, on a socket of one job and on one of five at once."""
    with running_stack(directory, webs=1, workers=0) as stack:
        hand = HandWorker(stack.redis.link, lease_s=300)
        claims = begin(stack, hand, 1 if transport == "websocket" else 5)
        peer = attach_to(stack.webs[0], claims[0].job.id, transport, buffer=64 * 1024)
        if transport == "websocket_many":
            follow(peer, claims[1:])
        client = Pinging(peer.sock)
        burst(hand, claims)
        client.take_nothing(PAUSE_S)
        paused = client.pings
        client.read_until(lambda: client.pongs >= paused + 10 and len(client.messages) >= PIECES + len(claims))
        for claim in claims:
            hand.finish(claim)
        if transport == "websocket":
            client.read_until(lambda: client.closed is not None)
            assert client.closed == 1000
        else:
            client.read_until(lambda: client.ended() == len(claims))
        peer.leave()
        for claim in claims:
            log = read_log(stack, claim.job.id)
            assert check_log(log) == []
            head = b"" if transport == "websocket" else b'{"type":"entry","job":"%b","entry":' % claim.job.id.encode()
            mine = [
                one[len(head) :].removesuffix(b"}" if head else b"") for one in client.messages if one.startswith(head)
            ]
            assert mine == [raw for _, raw in log]
        measured(
            f"{transport} reader pauses in a burst",
            pause_s=PAUSE_S,
            frames=len(client.messages),
            largest=max(map(len, client.messages)),
            pongs=client.pongs,
        )
