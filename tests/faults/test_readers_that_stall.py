"""Readers that take nothing, or next to nothing: they are given up after the stall limit, whatever they asked for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.by_hand import HandWorker
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.peers import PUSHED, Peer, attach, attach_to
from tests.faults.vitals import broke, open_connections, open_streams
from tests.faults.wire import CLOSE, TEXT, Frames, client_frame
from tests.proxy import Proxy
from tests.stack import Stack, running_stack, wait_for

STALL_S = 2
PIECES, PIECE_BYTES = 48, 128 * 1024


def flood(stack: Stack, job: str) -> None:
    """Six megabytes of entries, more than any kernel takes for a client that does not read. The job goes on."""
    hand = HandWorker(stack.redis.link, lease_s=300)
    claim = hand.take_job(job)
    for _ in range(PIECES):
        hand.say(claim, "x" * PIECE_BYTES)


def until_given_up(stack: Stack, before: int, began: float) -> float:
    """After how many seconds no connection but those from before is left, nor what served it."""
    web = stack.webs[0]
    wait_for(lambda: open_connections(web) <= before, "the connections are given up", 4 * STALL_S + 10)
    took_s = time.monotonic() - began
    wait_for(lambda: open_streams(web) == 0, "no stream is open by the web's own count")
    # The connection on which the job was submitted has been quiet for as long, and may be.
    wait_for(lambda: open_connections(web) == before, "it is still there")
    return took_s


def ends_in_a_reset(peer: Peer) -> bool:
    """Whether what it did not take is thrown away, and said to be."""
    try:
        peer.rest(5)
    except ConnectionResetError:
        return True
    finally:
        peer.leave()
    return False


@pytest.mark.slow
@pytest.mark.parametrize("transports", [PUSHED, ("long_polling", "short_polling")], ids=["streams", "plain answers"])
def test_reader_that_never_reads(directory: Path, transports: tuple[str, ...]) -> None:
    """Whoever asks and takes nothing of the answer is reset after the stall limit: streams, pages and jobs alike."""
    with running_stack(directory, webs=1, workers=0, STALL_S=STALL_S) as stack:
        job = Jobs(stack).submit("much")
        flood(stack, job)
        before = open_connections(stack.webs[0])
        began = time.monotonic()
        peers = [attach_to(stack.webs[0], job, transport, buffer=4096) for transport in transports]
        took_s = until_given_up(stack, before, began)
        assert took_s >= STALL_S * 0.9
        assert [ends_in_a_reset(peer) for peer in peers] == [True] * len(peers)
        assert broke(stack.webs[0]) == []
        measured(f"reader that never reads ({', '.join(transports)})", stall_s=STALL_S, freed_s=round(took_s, 1))


@pytest.mark.slow
def test_message_that_does_not_come_whole(directory: Path) -> None:
    """A WebSocket message whose end does not come within the stall limit closes its socket, and says why."""
    with running_stack(directory, webs=1, workers=0, STALL_S=STALL_S) as stack:
        job = Jobs(stack).submit("silent")
        peer = attach_to(stack.webs[0], job, "websocket_many")
        half = client_frame(TEXT, b'{"type":')
        peer.sock.sendall(bytes((half[0] & 0x7F,)) + half[1:])
        began = time.monotonic()
        frames = Frames().feed(peer.rest(4 * STALL_S + 10))
        assert time.monotonic() - began >= STALL_S * 0.9
        # Before it, the queued job may say what it waits for.
        ends = [(opcode, int.from_bytes(payload[:2])) for opcode, payload in frames if opcode != TEXT]
        assert ends == [(CLOSE, 1008)]
        peer.leave()


@pytest.mark.slow
def test_reader_behind_a_black_hole(directory: Path) -> None:
    """A reader behind a proxy that passes nothing on, without FIN or RST, is given up once its buffers are full and
    the stall limit is over; new readers are served all the time."""
    with running_stack(directory, webs=1, workers=0, STALL_S=STALL_S) as stack:
        proxy = Proxy(stack.webs[0].port)
        try:
            job = Jobs(stack).submit("much")
            before = open_connections(stack.webs[0])
            peers = [attach(proxy.port, job, transport) for transport in PUSHED]
            wait_for(lambda: open_streams(stack.webs[0]) == len(PUSHED), "all are attached")
            proxy.black_hole()
            began = time.monotonic()
            flood(stack, job)
            other = attach_to(stack.webs[0], job, "ndjson")
            received = 0
            while received < PIECES * PIECE_BYTES:
                received += len(other.sock.recv(1 << 20))
            other.leave()
            took_s = until_given_up(stack, before, began)
            measured("reader gone without FIN, log goes on", stall_s=STALL_S, freed_s=round(took_s, 1))
            for peer in peers:
                peer.leave()
        finally:
            proxy.close()
