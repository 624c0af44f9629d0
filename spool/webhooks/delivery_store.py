"""Deliveries in Redis: workers lease and settle them, and owners list and replay theirs."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from spool.errors import DeliveriesFull, DeliveryNotFound, UndecodableRecord
from spool.ids import shard_of
from spool.jobs.owner_list import read
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shard, Shards
from spool.redis.errors import unless_refused
from spool.webhooks.delivery import Delivery, DeliveryState, subject_of

LEASE_S = 20.0
"""Longer than an attempt takes."""
TRIED_FOR_S = 3 * 86_400.0
"""How long a delivery is tried."""
SENDING_AT_MOST = 4
"""Attempts at one receiver at a time, while it does not fail."""
OWNER_SENDING_AT_MOST = 16
"""Attempts at the receivers of one owner at a time."""
_LOOKED_AT = 200
Outcome = Literal["delivered", "failed", "over"]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of an attempt. ``is_answered``: the receiver was there, so the delivery itself may be the cause."""

    outcome: Outcome
    status: int = 0
    error: str = ""
    is_answered: bool = False
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Deliveries, newest first. ``cursor`` leads to the next page; None on the last."""

    deliveries: list[Delivery]
    cursor: str | None


class Deliveries:
    """The deliveries of an installation. Every call may raise ``StoreUnavailable``. ``jitter`` returns a factor of the
    next pause."""

    def __init__(self, shards: Shards, jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2)) -> None:
        self._shards = shards
        self._jitter = jitter

    def take(self, shard: Shard, most: int) -> list[Delivery]:
        """Lease at most ``most`` due deliveries of a shard. Damaged ones are given up."""
        args = arguments(
            "take_deliveries",
            lease_ms=round(LEASE_S * 1000),
            most=most,
            lane_most=SENDING_AT_MOST,
            owner_most=OWNER_SENDING_AT_MOST,
            tried_for_ms=round(TRIED_FOR_S * 1000),
        )
        found = []
        for reply in shard.run(script("take_deliveries"), *args):
            try:
                found.append(Delivery.decode(reply))
            except UndecodableRecord:
                record = dict(zip(reply[::2], reply[1::2], strict=True))
                self._settle(shard, record[b"id"], record[b"attempts"], Result("over", error="the record is damaged"))
        return found

    def settle(self, shard: Shard, delivery: Delivery, result: Result) -> float:
        """Record the result of an attempt. Returns for how long its receiver has failed, in seconds; 0 if it does not,
        or if the attempt was over already."""
        reply = self._settle(shard, delivery.id, delivery.attempts, result)
        return int(reply[1]) / 1000 if reply else 0.0

    def replay(self, delivery_id: str, owner: str) -> Delivery:
        """Try a delivery again at once, whatever its state. Raises ``DeliveryNotFound``, ``DeliveriesFull``,
        ``UndecodableRecord``."""
        shard = self._shard_of(delivery_id)
        reply = shard and shard.run(
            script("replay_delivery"), *arguments("replay_delivery", id=delivery_id, owner=owner)
        )
        if not reply:
            raise DeliveryNotFound(delivery_id)
        if reply == b"full":
            raise DeliveriesFull(retry_after_s=60.0)
        return Delivery.decode(reply)

    def newest(
        self, owner: str, *, limit: int, cursor: str | None, endpoint: str = "", state: DeliveryState | None = None
    ) -> DeliveryPage:
        """A page of an owner's deliveries, of this endpoint and state if they are given. It may be short, even where a
        ``cursor`` leads on, since a call looks at a bounded number."""
        rows: list[tuple[int, Shard, str]] = []
        for shard in self._shards:
            highest = f"({cursor}" if cursor else "+inf"
            key = shard.key(f"deliveries:{owner}")
            command = ("ZREVRANGEBYSCORE", key, highest, "-inf", "WITHSCORES", "LIMIT", 0, _LOOKED_AT)
            (reply,) = read(shard, [command])
            names, scores = (reply or [])[::2], (reply or [])[1::2]
            rows += [(int(float(score)), shard, raw.decode()) for raw, score in zip(names, scores, strict=True)]
        rows = sorted(rows, key=lambda row: row[0], reverse=True)[:_LOOKED_AT]
        found: list[Delivery] = []
        for at_us, shard, delivery_id in rows:
            delivery = self._look(shard, delivery_id, owner)
            if delivery is None or (endpoint and delivery.endpoint != endpoint) or (state and delivery.state != state):
                continue
            found.append(delivery)
            if len(found) == limit:
                return DeliveryPage(found, str(at_us))
        return DeliveryPage(found, str(rows[-1][0]) if len(rows) == _LOOKED_AT else None)

    def _look(self, shard: Shard, delivery_id: str, owner: str) -> Delivery | None:
        (reply,) = read(shard, [("HGETALL", shard.key(f"delivery:{delivery_id}"))])
        if not reply:
            with unless_refused():
                shard.link.call("ZREM", shard.key(f"deliveries:{owner}"), delivery_id)
            return None
        try:
            delivery = Delivery.decode(reply)
        except UndecodableRecord:
            return None
        return delivery if delivery.owner == owner else None

    def _settle(self, shard: Shard, delivery_id: str | bytes, attempt: int | bytes, result: Result) -> list[bytes]:
        args = arguments(
            "settle_delivery",
            id=delivery_id,
            attempt=attempt,
            outcome=result.outcome,
            status=result.status,
            error=result.error,
            answered=int(result.is_answered),
            jitter=self._jitter(),
            at_least_ms=result.retry_after_s * 1000,
            tried_for_ms=round(TRIED_FOR_S * 1000),
        )
        reply: list[bytes] = shard.run(script("settle_delivery"), *args) or []
        return reply

    def _shard_of(self, delivery_id: str) -> Shard | None:
        subject = subject_of(delivery_id)
        if subject is None:
            return None
        number = shard_of(subject)
        return next((shard for shard in self._shards if shard.number == number), None)
