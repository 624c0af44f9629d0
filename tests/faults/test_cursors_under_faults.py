"""Logs that lost what a cursor points at: trimmed below it, emptied, deleted with their job. Every transport says so in
its own words, once, and nobody asks for ever. (What is no cursor at all: tests/web/test_cursors.py.)"""

from __future__ import annotations

from contextlib import suppress

import httpx
import pytest

from tests.faults.checker import PREFIX, check_reader, read_log
from tests.faults.crowd import Crowd
from tests.faults.following import Following
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.peers import attach_to
from tests.faults.transports import TRANSPORTS
from tests.stack import Stack, wait_for

RESUMING = [name for name in TRANSPORTS if name != "text"]
BELOW, EARLIEST = 10, 60


def trim(stack: Stack, job: str) -> None:
    """Everything before ``EARLIEST`` is lost."""
    assert stack.redis.link.call("XTRIM", f"{PREFIX}job:{job}:log", "MINID", f"{EARLIEST}-0") > 0


def asked_for(reader: Following) -> list[tuple[object, object]]:
    """The gaps that a reader was told of: what it wanted, and the first that there is."""
    return [(gap["requested"], gap["earliest"]) for gap in reader.gaps]


@pytest.mark.slow
def test_log_trimmed_below_the_cursor_while_it_runs(stack: Stack) -> None:
    """Readers from below the trim are told what is missing and get the rest, bare text is cut, and who begins just
    above it notices nothing."""
    with Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        job = jobs.submit(tokens=200, rate=60)
        jobs.wait_for_entries([job], EARLIEST)
        trim(stack, job)
        below = [crowd.follow(job, transport, BELOW, expects_gaps=True) for transport in RESUMING]
        above = [crowd.follow(job, transport, EARLIEST - 1) for transport in RESUMING]
        text = crowd.follow(job, "text", BELOW)
        assert crowd.unfinished(30) == []
        log = read_log(stack, job)
        assert log[0][0] == EARLIEST
        assert [str(one) for one in below if asked_for(one) != [(BELOW + 1, EARLIEST)]] == []
        assert [str(one) for one in below + above if one.raw != [raw for _, raw in log] or one.errors] == []
        assert (text.ended, text.text) == (False, b"")


@pytest.mark.slow
def test_log_trimmed_under_its_readers(stack: Stack) -> None:
    """Those who have read past the trim notice nothing of it."""
    with Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        job = jobs.submit(tokens=200, rate=60)
        readers = [crowd.follow(job, transport) for transport in RESUMING]
        wait_for(lambda: all(one.cursor >= EARLIEST for one in readers), "everybody is past it")
        head = [row for row in read_log(stack, job) if row[0] < EARLIEST]
        trim(stack, job)
        assert crowd.unfinished(30) == []
        log = head + read_log(stack, job)
        assert [wrong for one in readers for wrong in check_reader(one, log)] == []


@pytest.mark.slow
def test_log_trimmed_below_the_cursor_after_its_end(stack: Stack) -> None:
    """The same of a log that has ended, from its beginning and from between."""
    with Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        job = jobs.submit(tokens=200, rate=0)
        jobs.wait_for_end([job])
        trim(stack, job)
        raws = [raw for _, raw in read_log(stack, job)]
        for after in (0, BELOW, EARLIEST - 2):
            readers = [crowd.follow(job, transport, after, expects_gaps=True) for transport in RESUMING]
            assert crowd.unfinished(30, readers) == []
            assert [str(one) for one in readers if asked_for(one) != [(after + 1, EARLIEST)]] == []
            assert [str(one) for one in readers if one.raw != raws or one.errors or not one.ended] == []
        measured("log trimmed below the cursor", transports=len(RESUMING), gaps_per_reader=1, wrong=0)


def said_over_http(stack: Stack, job: str, media_type: str) -> bytes:
    """The body of a stream from entry 3 on, as far as it comes."""
    body = b""
    with (
        suppress(httpx.RemoteProtocolError),
        stack.client().stream("GET", f"/jobs/{job}/stream?after=3", headers={"Accept": media_type}) as response,
    ):
        for piece in response.iter_raw():
            body += piece
    return body


@pytest.mark.slow
def test_log_that_is_gone_after_its_end(stack: Stack) -> None:
    """Of a log of which nothing is left, every transport says that nothing will come, so that nobody asks again."""
    jobs = Jobs(stack)
    job = jobs.submit(tokens=20, rate=0)
    jobs.wait_for_end([job])
    last = read_log(stack, job)[-1][0]
    stack.redis.link.call("DEL", f"{PREFIX}job:{job}:log")
    missing = b'{"type":"gap","requested":4,"earliest":null,"latest":null}'
    assert said_over_http(stack, job, "text/event-stream").endswith(
        b"id: %d\nevent: gap\ndata: %b\n\n" % (last, missing)
    )
    assert said_over_http(stack, job, "application/x-ndjson") == missing + b'\n{"type":"gone"}\n'
    assert said_over_http(stack, job, "text/plain") == b""
    peer = attach_to(stack.webs[0], job, "websocket", after=3)
    said = peer.rest(10)
    peer.leave()
    assert missing in said
    assert said.endswith((4410).to_bytes(2) + b"gone")
    with Crowd([stack.webs[0].url]) as crowd:
        for after in (3, last + 50):
            for name in RESUMING:
                crowd.follow(job, name, after, expects=(410,), expects_gaps=True)
        assert crowd.unfinished(30) == []
        assert [str(one) for one in crowd.followings if one.errors or one.raw or len(one.gaps) != 1] == []


@pytest.mark.slow
def test_job_deleted_under_its_readers(stack: Stack) -> None:
    """Who is in the middle of a log when its job is deleted is told that the rest is gone; who comes then gets 410."""
    jobs = Jobs(stack)
    job = jobs.submit(tokens=20_000, rate=0)
    jobs.wait_for_end([job])
    log = read_log(stack, job)
    peer = attach_to(stack.webs[0], job, "ndjson", buffer=4096)
    received = peer.sock.recv(100)
    assert stack.client().delete(f"/jobs/{job}").status_code == 204
    while b'{"type":"gone"}\n' not in received[-100:]:
        received += peer.sock.recv(1 << 20)
    peer.leave()
    *entries, gap, gone = (line for line in received.split(b"\n") if line.startswith(b"{"))
    assert entries == [raw for _, raw in log[: len(entries)]]
    assert 0 < len(entries) < len(log)
    assert gap == b'{"type":"gap","requested":%d,"earliest":null,"latest":null}' % (len(entries) + 1)
    assert gone == b'{"type":"gone"}'
    with Crowd([web.url for web in stack.webs]) as crowd:
        for after in (0, len(entries), len(log), len(log) + 50):
            for name in TRANSPORTS:
                crowd.follow(job, name, after, expects=(410,))
        assert crowd.unfinished(30) == []
        assert [str(one) for one in crowd.followings if one.errors or one.raw or len(one.turns) != 1] == []
