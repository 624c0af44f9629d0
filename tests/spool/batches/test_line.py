"""Lines of a batch as they are stored."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from spool.batches.line import BadLine, Line, decode_fields, encode, entry_of, is_bad, job_id_of, job_of
from spool.errors import UndecodableRecord
from spool.jobs.coalescing import Coalescing
from spool.jobs.conversation_blocks import BLOCK_BYTES, divide
from spool.jobs.job import NewJob, OnWorkerLoss, Priority
from spool.jobs.origin import Origin
from spool.jobs.scheduling import Conversation, Scheduling
from tests.by_hand import OWNER, new_job

BATCH = "b0-" + "0" * 26


def full() -> NewJob:
    """A job with all that a line may have."""
    said = [{"role": "user", "content": "x" * BLOCK_BYTES}, {"role": "user", "content": "y"}]
    return new_job(
        id="",
        input={"messages": said, "params": {"tokens": 3}},
        divided=divide(said[:1]),
        priority=Priority.BATCH,
        metadata={"a": "b"},
        timeout_s=7.5,
        start_s=3.0,
        on_worker_loss=OnWorkerLoss.FAIL,
        coalesce=Coalescing(5, 6, True),
        scheduling=Scheduling("k", 2.0, 60.0, 1_800_000_000.5, Conversation("c")),
        origin=Origin("req_1", "", "key1"),
        webhook='{"url":"https://example.com"}',
    )


def test_line_is_the_same_job_again() -> None:
    """A stored line gives the job that was stored, with blocks and scheduling, under the id of its batch and index."""
    before = full()
    after = job_of(decode_fields(encode(Line(4, before, "mine"))), BATCH, OWNER, "0:2")
    expected = replace(
        before, id=job_id_of(BATCH, 4), batch=BATCH, batch_index=4, line="0:2", custom_id="mine", owner=OWNER
    )
    assert after == expected


def test_id_follows_from_batch_and_line() -> None:
    """Two lines, and the same line of two batches, have different ids."""
    ids = {job_id_of(batch, n) for batch in (BATCH, "b0-" + "1" * 26) for n in range(3)}
    assert len(ids) == 6
    assert job_id_of("b3-" + "0" * 26, 1).startswith("j3-")


def test_id_follows_from_a_salt() -> None:
    """Lines of the same index with different salts are different jobs, also where they never run."""
    salted = [decode_fields(encode(Line(4, full()), salt)) for salt in ("", "a", "b")]
    ids = [job_of(fields, BATCH, OWNER).id for fields in salted]
    assert len(set(ids)) == 3
    assert [orjson.loads(b"{" + entry_of(BATCH, one, "cancelled")[1:] + b"}")["job"] for one in salted] == ids


def test_bad_line_keeps_its_error() -> None:
    """What is wrong with a line is stored in its place."""
    fields = decode_fields(encode(BadLine(2, 3, "invalid_request", "prompt: is empty", "prompt", "mine")))
    assert is_bad(fields)
    assert fields["bad"] == {"code": "invalid_request", "line": 3, "message": "prompt: is empty", "param": "prompt"}


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"index":"1"}', b"\xff"], ids=repr)
def test_damaged_line(raw: bytes) -> None:
    """What is no line is an error that names it."""
    with pytest.raises(UndecodableRecord, match="a line of a batch"):
        decode_fields(raw)


@pytest.mark.parametrize("name", ["input", "priority", "scheduling", "timeout_s"])
def test_line_without_a_field(name: str) -> None:
    """A line that lacks a field becomes no job."""
    fields = decode_fields(encode(Line(0, full())))
    del fields[name]
    with pytest.raises(UndecodableRecord):
        job_of(fields, BATCH, OWNER)
