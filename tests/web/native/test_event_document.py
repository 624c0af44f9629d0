"""Events as clients read them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from web.native.event_document import FORMATS, encoded, event_document, selection

RECORD = {
    "schema": "1",
    "id": "j0-00000000000000000000000000",
    "owner": "alice",
    "model": "demo",
    "status": "queued",
    "created_ms": "1000",
}

BATCH = {"owner": "alice", "status": "running", "state": "in_progress", "total": "1", "created_ms": "1000", "last": "0"}


def stored(**fields: Any) -> bytes:
    """A stored event."""
    return orjson.dumps({"id": 7, "kind": "job.queued", "at": "x", **fields})


def queued(**fields: str) -> bytes:
    """The event of a queued job."""
    return stored(job="j0-00000000000000000000000000", record={**RECORD, "deadline_ms": "2000", **fields})


def test_record_becomes_the_document_of_the_job() -> None:
    """The event has the job's document instead of the record."""
    event = event_document(queued(batch="b0-x", batch_index="3"))
    assert "record" not in event
    assert (event["job"]["created_at"], event["job"]["batch"]) == ("1970-01-01T00:00:01.000Z", "b0-x")
    assert "text" not in event["job"]


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (queued(), (False, False)),
        (queued(batch="b0-x", batch_index="0"), (True, False)),
        (queued(conversation="talk"), (False, True)),
        (stored(kind="batch.created", batch="b0-x", record={}), (True, False)),
        (stored(job="j0-00000000000000000000000000", record=None), (False, False)),
        (stored(reason="redis_lost_history"), (True, True)),
    ],
    ids=["job", "job of the batch", "job of the conversation", "batch", "damaged", "history lost"],
)
def test_selection_of_a_batch_or_a_conversation(raw: bytes, wanted: tuple[bool, bool]) -> None:
    """A stream of one batch or conversation gets its events, and those that concern all."""
    assert selection(None, None, with_batches=True) is None
    of_batch, of_conversation = selection("b0-x", None, with_batches=True), selection(None, "talk", with_batches=True)
    assert of_batch is not None
    assert of_conversation is not None
    assert (of_batch(raw), of_conversation(raw)) == wanted


@pytest.mark.parametrize(
    "raw",
    [
        queued(model="demo").replace(b"demo", b"\xff"),
        queued(usage='{"input_tokens":' + "9" * 400 + "}"),
        stored(kind="batch.created", batch="b0-x", record={**BATCH, "queued": "9" * 30}),
        stored(kind="batch.created", batch="b0-x", record={**BATCH, "created_ms": "9" * 400}),
        stored(kind="batch.created", batch="b0-x", record={**BATCH, "errors": "[1]"}),
    ],
    ids=["bytes", "usage", "large count", "large time", "errors"],
)
def test_damaged_record_breaks_no_stream(raw: bytes) -> None:
    """Each event can be sent, whatever a record holds: a reconnect would meet it again."""
    sent = orjson.loads(encoded(raw))
    assert (sent["id"], "record" in sent) == (7, False)
    assert (sent.get("job") or sent["batch"])["id"] in ("j0-00000000000000000000000000", "b0-x")


def test_lost_events_make_clients_come_back() -> None:
    """A log of events has no end, so a stream that ends asks its client to reconnect, in every format."""
    assert all(b"reconnect" in form.end(7, is_gone=True) for form in FORMATS.values())
