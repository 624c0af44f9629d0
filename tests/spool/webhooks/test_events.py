"""The payloads of events."""

from __future__ import annotations

import orjson
import pytest

from spool.webhooks.events import payload

RECORD = {
    "id": "msg_j0-1_own",
    "at_us": "1795253400123456",
    "type": "job.failed",
    "subject": "j0-1",
    "status": "failed",
}
JOB = {**RECORD, "model": "demo", "batch": "", "metadata": '{"k":"v"}', "surface": "jobs"}


def test_payload_of_a_job() -> None:
    """Type, time, and how the job ended; neither its prompt nor its answer."""
    assert orjson.loads(payload(JOB)) == {
        "type": "job.failed",
        "timestamp": "2026-11-21T09:30:00.123Z",
        "data": {"id": "j0-1", "status": "failed", "model": "demo", "batch": None, "metadata": {"k": "v"}},
    }


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"type": "response.completed", "surface": "responses"}, "resp_j0-1"),
        ({"type": "batch.completed", "surface": "v1", "subject": "batch_1"}, "batch_1"),
    ],
    ids=["response", "batch"],
)
def test_payload_of_openai(changes: dict[str, str], subject: str) -> None:
    """What came by /v1 has OpenAI's shape and its own id."""
    assert orjson.loads(payload({**JOB, **changes})) == {
        "id": "evt_j0-1_own",
        "object": "event",
        "created_at": 1795253400,
        "type": changes["type"],
        "data": {"id": subject},
    }


def test_payload_of_a_native_batch() -> None:
    """A batch has no model."""
    record = {**RECORD, "type": "batch.expired", "status": "expired", "subject": "b0-1"}
    assert orjson.loads(payload(record))["data"] == {"id": "b0-1", "status": "expired", "metadata": {}}


@pytest.mark.parametrize("changes", [{"at_us": "x"}, {"metadata": "{"}], ids=["time", "metadata"])
def test_damaged_record_has_no_payload(changes: dict[str, str]) -> None:
    """A damaged record is a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        payload({**JOB, **changes})
