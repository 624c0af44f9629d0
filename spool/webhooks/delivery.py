"""A delivery: an event for one receiver, from the end that posted it until it arrived or was given up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from spool.errors import DeliveryDamaged

_ID = re.compile(r"msg_([jb][0-9]{1,4}-[0-9a-z]{16,40})_(?:own|we_[0-9a-f]{16})")


class DeliveryState(StrEnum):
    """The states of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


def subject_of(delivery_id: str) -> str | None:
    """The id of the job or batch whose end this delivery tells; None for what cannot be the id of a delivery."""
    match = _ID.fullmatch(delivery_id)
    return match[1] if match else None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery. ``endpoint`` is empty if the submit named the URL; ``url`` is empty if the endpoint has it."""

    id: str
    owner: str
    endpoint: str
    url: str
    type: str
    subject: str
    state: DeliveryState
    at_us: int
    attempts: int
    last_status: int
    """The status of the last answer; 0: none came."""
    last_error: str
    ended_ms: int
    record: Mapping[str, str]

    @classmethod
    def decode(cls, reply: Sequence[bytes]) -> Self:
        """The delivery of a record's names and values. Raises ``DeliveryDamaged``."""
        try:
            pairs = zip(reply[::2], reply[1::2], strict=True)
            record = {name.decode(): value.decode() for name, value in pairs}
            return cls(
                id=record["id"],
                owner=record["owner"],
                endpoint=record["endpoint"],
                url=record["url"],
                type=record["type"],
                subject=record["subject"],
                state=DeliveryState(record["state"]),
                at_us=int(record["at_us"]),
                attempts=int(record["attempts"]),
                last_status=int(record.get("last_status") or 0),
                last_error=record.get("last_error", ""),
                ended_ms=int(record.get("ended_ms") or 0),
                record=record,
            )
        except (KeyError, ValueError) as exc:
            raise DeliveryDamaged("delivery", reply) from exc
