"""The events of webhooks: their names, and the payload of each.

What came in by ``/v1/responses`` or ``/v1/batches`` has the names and shapes of OpenAI. A payload names what ended and
how, and not what it produced: a receiver reads that with its own key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from spool.jobs.entries import rfc3339

EVENTS = (
    *("job.succeeded", "job.failed", "job.cancelled"),
    *("response.completed", "response.incomplete", "response.failed", "response.cancelled"),
    *("batch.completed", "batch.failed", "batch.cancelled", "batch.expired"),
)
"""The types of events. A webhook without a list gets all."""
RESPONSE_PREFIX = "resp_"
OPENAI_BATCHES = "v1"
"""The surface of a batch that came by ``/v1/batches``."""


def payload(record: Mapping[str, str]) -> bytes:
    """The body of a delivery, from its record: the same bytes for each attempt. Raises ``KeyError`` and ``ValueError``
    for a damaged record."""
    at_s, kind = int(record["at_us"]) / 1_000_000, record["type"]
    if kind.startswith("response."):
        return _openai(record["id"], kind, at_s, RESPONSE_PREFIX + record["subject"])
    if kind.startswith("batch.") and record.get("surface") == OPENAI_BATCHES:
        return _openai(record["id"], kind, at_s, record["subject"])
    data: dict[str, Any] = {"id": record["subject"], "status": record["status"]}
    if kind.startswith("job."):
        data |= {"model": record["model"], "batch": record.get("batch") or None}
    data["metadata"] = orjson.loads(record.get("metadata") or "{}")
    return orjson.dumps({"type": kind, "timestamp": rfc3339(at_s), "data": data})


def _openai(message_id: str, kind: str, at_s: float, subject: str) -> bytes:
    event_id = f"evt_{message_id.removeprefix('msg_')}"
    return orjson.dumps(
        {"id": event_id, "object": "event", "created_at": int(at_s), "type": kind, "data": {"id": subject}}
    )
