"""Readers that are suddenly not there: what they held is free again at once, or once the stall limit is over."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.faults.figures import above, measure, probed
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.peers import PUSHED, WAITING, Peer, attach_to
from tests.faults.vitals import open_connections, open_streams, subscribers
from tests.loopback import NO_CERTIFICATES
from tests.stack import ROOT, Stack, wait_for

HEARTBEAT_S = 4
STALL_S = 2
_CLIENT = """
import sys, time
from tests.faults.peers import WAITING, attach
peers = [attach(int(sys.argv[1]), sys.argv[2], transport) for transport in WAITING]
print("attached", flush=True)
time.sleep(600)
"""


@pytest.fixture
def silent(directory: Path) -> Iterator[tuple[Stack, str]]:
    """One web with room for as many streams as there are transports, and a job on whose log nothing comes."""
    options = {"HEARTBEAT_S": HEARTBEAT_S, "STALL_S": STALL_S, "MAX_STREAMS": len(WAITING)}
    stack = Stack(directory, webs=1, workers=0, **options)
    probed(stack)
    try:
        stack.start()
        yield stack, Jobs(stack).submit("nobody takes it")
    finally:
        stack.close()


def all_taken(stack: Stack, job: str) -> None:
    """Wait until every place is taken and the log is listened to."""
    wait_for(lambda: open_streams(stack.webs[0]) == len(PUSHED), "all are attached")
    asked, ndjson = f"{stack.webs[0].url}/jobs/{job}/stream", {"Accept": "application/x-ndjson"}
    wait_for(lambda: httpx.head(asked, headers=ndjson, verify=NO_CERTIFICATES).status_code == 503, "no place is left")
    wait_for(lambda: subscribers(stack.redis.link, job) == 1, "the web listens")


def held(stack: Stack) -> dict[str, float]:
    """The web's greenlets, and its objects that serve readers."""
    return {name: count for name, count in measure(stack).items() if name.endswith(("greenlets", "objects"))}


class Before:
    """What the web held before anybody came."""

    def __init__(self, stack: Stack, job: str) -> None:
        self._stack = stack
        self._job = job
        self._web = stack.webs[0]
        self._connections = open_connections(self._web)
        self._held = held(stack)

    def comes_back(self, began: float) -> tuple[float, float]:
        """After how many seconds places and connections are free, and after how many nobody listens any more."""
        wait_for(lambda: open_streams(self._web) == 0, "no stream is open by the web's own count")
        wait_for(lambda: open_connections(self._web) <= self._connections, "the connections are closed")
        free_s = time.monotonic() - began
        again = [attach_to(self._web, self._job, "sse") for _ in WAITING]
        assert [one.status for one in again] == [200] * len(again)
        assert not any(b"unavailable" in one.sock.recv(4096) for one in again)
        for one in again:
            one.leave()
        wait_for(lambda: subscribers(self._stack.redis.link, self._job) == 0, "nobody listens any more")
        quiet_s = time.monotonic() - began
        # A loop of the follower's may still name the last one it saw.
        wait_for(lambda: not above(self._held, held(self._stack), {}), f"it holds {self._held} as before")
        return free_s, quiet_s


@pytest.mark.slow
def test_reader_killed_while_idle(silent: tuple[Stack, str]) -> None:
    """A client process that is killed with a silent stream on every transport gives its places, greenlets and
    connections back at once, and the log's subscription within two heartbeats."""
    stack, job = silent
    before = Before(stack, job)
    argv = [sys.executable, "-c", _CLIENT, str(stack.webs[0].port), job]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "attached\n"
        all_taken(stack, job)
        client.kill()
        killed = time.monotonic()
        free_s, quiet_s = before.comes_back(killed)
    assert free_s < 2 * HEARTBEAT_S
    measured(
        "reader killed while idle", heartbeat_s=HEARTBEAT_S, freed_s=round(free_s, 2), unsubscribed_s=round(quiet_s, 1)
    )


@pytest.mark.slow
@pytest.mark.parametrize("leave", [Peer.leave, Peer.reset], ids=["FIN", "RST"])
def test_reader_that_closes(silent: tuple[Stack, str], leave: Callable[[Peer], None]) -> None:
    """The same by FIN and by RST."""
    stack, job = silent
    before = Before(stack, job)
    peers = [attach_to(stack.webs[0], job, transport) for transport in WAITING]
    all_taken(stack, job)
    began = time.monotonic()
    for peer in peers:
        leave(peer)
    free_s, _ = before.comes_back(began)
    assert free_s < 2 * HEARTBEAT_S


@pytest.mark.slow
def test_reader_gone_without_a_fin(silent: tuple[Stack, str]) -> None:
    """A reader whose network is gone acknowledges nothing, and is given up after the stall limit, on silent streams
    without heartbeats too."""
    stack, job = silent
    before = Before(stack, job)
    peers = [attach_to(stack.webs[0], job, transport) for transport in WAITING]
    all_taken(stack, job)
    began = time.monotonic()
    for peer in peers:
        peer.vanish()
    free_s, _ = before.comes_back(began)
    # It is asked after half the limit of silence, and has the limit to answer.
    assert free_s < 2 * STALL_S + HEARTBEAT_S
    measured("reader gone without FIN, silent stream", stall_s=STALL_S, freed_s=round(free_s, 1))
    for peer in peers:
        peer.leave()
