"""Upstreams whose bytes are not what they should be: too many, no end of a line, garbage, characters in pieces."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.faults.upstreams import MODEL, closed_s, stack_with
from tests.scripted_upstream import Call, says
from tests.stack import Stack

MIB = 1024 * 1024


def resident_bytes(stack: Stack) -> int:
    """The memory of the stack's first worker."""
    pages = int(Path(f"/proc/{stack.workers[0].pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


@pytest.mark.slow
def test_upstream_that_floods(directory: Path) -> None:
    """Text as fast as a socket takes it: the job fails at its limit and the connection is closed, a job beside it is
    answered as ever, and the worker's memory stays bounded."""
    piece = "flood " * 1000

    def floods(call: Call) -> None:
        call.begin()
        while True:
            call.text(piece)

    with stack_with(directory, floods, MAX_OUTPUT_BYTES=4 * MIB) as (stack, upstream):
        jobs = Jobs(stack)
        before = resident_bytes(stack)
        flooded = jobs.submit(fields=MODEL)
        beside = jobs.submit("beside", tokens=60, rate=30, fields={"model": "demo"})
        jobs.wait_for_end()
        assert jobs.error(flooded)["code"] == "output_too_long"
        assert jobs.field(beside, "status") == "succeeded"
        assert jobs.violations() == []
        grown = (resident_bytes(stack) - before) / MIB
        assert grown < 100
        measured("upstream floods", closed_s=closed_s(upstream), worker_grew_mib=round(grown))


@pytest.mark.slow
def test_upstream_that_sends_one_endless_line(directory: Path) -> None:
    """An event that never ends is garbage, long before it fills the memory."""

    def endless(call: Call) -> None:
        call.begin()
        call.send(b"data: ")
        while True:
            call.send(b"x" * 65_536)

    with stack_with(directory, endless, MAX_ATTEMPTS=1) as (stack, upstream):
        jobs = Jobs(stack)
        before = resident_bytes(stack)
        job = jobs.submit(fields=MODEL)
        jobs.wait_for_end()
        assert jobs.error(job)["code"] == "upstream_garbage"
        closed_s(upstream)
        assert resident_bytes(stack) - before < 100 * MIB


@pytest.mark.slow
def test_upstream_that_sends_garbage(directory: Path) -> None:
    """Garbage instead of an answer fails the job in so many words; garbage in the middle of one is tried again."""

    def garbage(call: Call) -> None:
        call.begin()
        call.send(b'data: {"choices": [{"delta": {"content": 7}}]}\n\n')
        call.hold(60)

    def half(call: Call) -> None:
        call.begin()
        call.text("Wro")
        call.send(b"data: \xff\xfe{not json\n\n")
        call.hold(60)

    with stack_with(directory, garbage, half, says("Right")) as (stack, upstream):
        jobs = Jobs(stack)
        first = jobs.submit(fields=MODEL)
        jobs.wait_for_end()
        assert jobs.error(first)["code"] == "upstream_garbage"
        second = jobs.submit(fields=MODEL)
        jobs.wait_for_end()
        assert jobs.kinds(second) == ["started", "token", "waiting", "restarted", "token", "done"]
        for number in (1, 2):
            closed_s(upstream, number)
        assert jobs.violations() == []


@pytest.mark.slow
def test_upstream_that_splits_characters(directory: Path) -> None:
    """Each byte of the answer in a network write of its own: every entry on every transport is whole text."""
    text = "Ελληνικά 日本語 🧵→👀 \u2028 हिन्दी"

    def splits(call: Call) -> None:
        call.begin()
        chunk = {"choices": [{"index": 0, "delta": {"content": text}}]}
        for byte in b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n":
            call.send(bytes([byte]))
        call.done()

    with stack_with(directory, splits) as (stack, _upstream), Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        job = jobs.submit(fields=MODEL)
        readers = [crowd.follow(job, transport) for transport in TRANSPORTS]
        jobs.wait_for_end()
        assert crowd.unfinished(10) == []
        assert jobs.violations(readers) == []
        assert stack.client().get(f"/jobs/{job}").json()["text"] == text


@pytest.mark.slow
def test_upstream_that_dies_inside_a_character(directory: Path) -> None:
    """Half a character and a reset: what got into the log is whole text, and the answer is begun anew."""

    def breaks_inside(call: Call) -> None:
        call.begin()
        call.text("Wro")
        call.send('data: {"choices": [{"index": 0, "delta": {"content": "🧵'.encode()[:-2])
        call.drop()

    with stack_with(directory, breaks_inside, says("Right 🧵")) as (stack, _upstream):
        jobs = Jobs(stack)
        job = jobs.submit(fields=MODEL)
        jobs.wait_for_end()
        assert jobs.kinds(job) == ["started", "token", "waiting", "restarted", "token", "done"]
        assert stack.client().get(f"/jobs/{job}").json()["text"] == "Right 🧵"
        assert jobs.violations() == []
