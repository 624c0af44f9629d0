"""The JavaScript client in Node against a real Spool, through a network that does not let everything through."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.browser.cutting_proxy import CuttingProxy
from tests.clients.conftest import Jobs
from tests.clients.http_proxy import ENTRIES, LONG_POLL, SOCKET, STREAM, HttpProxy
from tests.clients.js.conftest import Follow
from tests.stack import Stack

ALL = ["sse", "websocket", "long", "short", "answer"]
FAST = {"quietMs": 800, "lookMs": 800, "secondLookMs": 200, "firstBytesMs": 800, "requestMs": 2000}
"""Timing for tests that must not wait: what the client does is the same."""

LADDER = {
    "nothing": ([], [], [], "sse"),
    "SSE is answered 502": ([STREAM], [], [], "websocket"),
    "SSE is held back until its end": ([], [], [STREAM], "websocket"),
    "SSE is never answered": ([], [STREAM], [], "websocket"),
    "SSE and WebSocket are answered 502": ([STREAM, SOCKET], [], [], "long"),
    "SSE is held back, WebSocket is never answered": ([], [SOCKET], [STREAM], "long"),
    "everything but short polling is answered 502": ([STREAM, SOCKET, LONG_POLL], [], [], "short"),
    "everything but short polling is never answered": ([], [STREAM, SOCKET, LONG_POLL], [], "short"),
    "everything but GET /jobs/{id}": ([STREAM, SOCKET, ENTRIES], [], [], "answer"),
}
"""What is blocked: refused, swallowed, held back; and the transport that the client comes to."""
QUICK = ("SSE is held back until its end", "everything but short polling is answered 502")


@pytest.mark.parametrize("transport", ALL)
def test_follow_by_each_transport(stack: Stack, jobs: Jobs, follow: Follow, transport: str) -> None:
    """A job that runs is read to its end: the text is the log's, and nothing comes twice."""
    job = jobs.submit(tokens=40, rate=60)
    reader = follow(stack.webs[0].url, job, transports=[transport])
    assert reader.whole(jobs.ended(job))["transports"] == [transport]


@pytest.mark.parametrize(
    "blocked", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LADDER]
)
def test_ladder_while_something_is_blocked(proxy: HttpProxy, jobs: Jobs, follow: Follow, blocked: str) -> None:
    """The client finds the best transport that is let through, by itself and in seconds."""
    proxy.refused, proxy.swallowed, proxy.held, expected = LADDER[blocked]
    job = jobs.submit(tokens=2000, rate=40)
    reader = follow(proxy.url, job)
    reader.until_entry(5)
    assert reader.changes[-1]["transport"] == expected
    jobs.cancel(job)
    end = reader.whole(jobs.ended(job))
    assert end["transports"] == ALL[: ALL.index(expected) + 1]
    _report(blocked, expected, end["firstTextMs"])


def _report(blocked: str, used: str, first_text_ms: int) -> None:
    if path := os.environ.get("SPOOL_LADDER_REPORT"):
        with Path(path).open("a") as report:
            report.write(json.dumps({"blocked": blocked, "used": used, "first_text_ms": first_text_ms}) + "\n")


@pytest.mark.slow
def test_ladder_climbs_up_again(proxy: HttpProxy, jobs: Jobs, follow: Follow) -> None:
    """When the better transports are let through again, the client comes back to them, one after the other."""
    proxy.refused = [STREAM, SOCKET, LONG_POLL]
    job = jobs.submit(tokens=2000, rate=40)
    reader = follow(proxy.url, job, timing={"climbMs": 500})
    reader.until(transport="short", connection="live")
    proxy.refused = []
    reader.until(transport="sse", connection="live")
    jobs.cancel(job)
    reader.whole(jobs.ended(job))


@pytest.mark.parametrize("transport", ["sse", *(pytest.param(name, marks=pytest.mark.slow) for name in ALL[1:])])
def test_follow_when_cut_twenty_times(cutter: CuttingProxy, jobs: Jobs, follow: Follow, transport: str) -> None:
    """Each of twenty cuts in one answer costs nothing: every entry is there once, over the same transport."""
    job = jobs.submit(tokens=5000, rate=60)
    reader = follow(cutter.url, job, transports=[transport], timing={"retryMs": 40, "pollMs": 40})
    for _ in range(20):
        reader.until_entry(reader.last_entry + 3)
        cutter.cut()
    jobs.cancel(job)
    reader.whole(jobs.ended(job))


@pytest.mark.slow
def test_follow_into_a_black_hole(cutter: CuttingProxy, jobs: Jobs, follow: Follow) -> None:
    """A connection that dies without a word is noticed, and the reader returns once the network does."""
    job = jobs.submit(tokens=5000, rate=40)
    reader = follow(cutter.url, job, timing=FAST)
    at = reader.until_entry(20)
    cutter.black_hole()
    reader.until(connection="connecting")
    cutter.cut()
    cutter.normal()
    reader.until_entry(at + 60, within_s=10)
    jobs.cancel(job)
    reader.whole(jobs.ended(job))


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["sse", "websocket"])
def test_follow_when_one_connection_dies_in_silence(
    proxy: HttpProxy, jobs: Jobs, follow: Follow, transport: str
) -> None:
    """The record is ahead of a stream that brings nothing more, so the client leaves it for a new one."""
    job = jobs.submit(tokens=5000, rate=40)
    reader = follow(proxy.url, job, transports=[transport], timing=FAST)
    at = reader.until_entry(20)
    proxy.freeze()
    reader.until_entry(at + 60, within_s=15)
    jobs.cancel(job)
    assert reader.whole(jobs.ended(job))["view"]["connections"] >= 2


def test_follow_refused_and_started_again(stack: Stack, follow: Follow) -> None:
    """An unknown job is a refusal, in the server's words, not a queued job."""
    end = follow(stack.webs[0].url, "j0-00000000000000000000000000").end()
    assert end["error"] == {"status": 404, "message": "no such job"}
    assert end["states"][-1] == "refused"


@pytest.mark.slow
def test_follow_stopped_and_started_again(stack: Stack, jobs: Jobs, follow: Follow) -> None:
    """A reader that was stopped in the middle goes on with the next entry when it is started again."""
    job = jobs.submit(tokens=120, rate=40)
    reader = follow(stack.webs[0].url, job)
    reader.until_entry(20)
    reader.tell("stop")
    reader.until(connection="stopped")
    reader.tell("start")
    reader.whole(jobs.ended(job))


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["stop", "kill"])
def test_follow_when_the_server_restarts(own_stack: Stack, own_jobs: Jobs, follow: Follow, signal: str) -> None:
    """A web that drains or dies costs nothing: the reader is back within three seconds of its return."""
    job = own_jobs.submit(tokens=400, rate=40)
    reader = follow(own_stack.webs[0].url, job)
    at = reader.until_entry(30)
    getattr(own_stack.webs[0], signal)()
    own_stack.webs[0].start()
    own_stack.wait_ready()
    reader.until_entry(at + 40, within_s=3 + 5)
    assert reader.whole(own_jobs.ended(job))["view"]["transport"] == "sse"


@pytest.mark.slow
def test_follow_when_the_worker_dies(own_stack: Stack, own_jobs: Jobs, follow: Follow) -> None:
    """Another attempt continues or restarts the answer, and the text that counts is the log's."""
    job = own_jobs.submit(tokens=200, rate=40)
    reader = follow(own_stack.webs[0].url, job)
    reader.until_entry(30)
    own_stack.workers[0].kill()
    own_stack.workers[0].start()
    record = own_jobs.ended(job)
    assert record["attempt"] == 2
    reader.whole(record)
