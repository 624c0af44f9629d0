"""Endpoints in Redis, and the secret that signs what submits name. Web and workers use it.

The record of an endpoint is in the first shard. Every shard knows the enabled endpoints of an owner and the events that
they want, since the script that ends a job reads no other shard. In the first shard both change together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from spool.errors import TooManyWebhooks, WebhookDamaged, WebhookNotFound
from spool.jobs.owner_list import read
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shard, Shards
from spool.redis.errors import unless_refused
from spool.webhooks.endpoint import Endpoint, is_endpoint_id, new_endpoint_id
from spool.webhooks.signature import Secrets, decode, encode, new_secret, rotated

ENDPOINTS_AT_MOST = 20
"""Of one owner."""


class Endpoints:
    """The endpoints of an installation. Every call may raise ``StoreUnavailable``. ``clock`` returns seconds since the
    epoch."""

    def __init__(self, shards: Shards, clock: Callable[[], float] = time.time) -> None:
        self._shards = shards
        self._home: Shard = next(iter(shards))
        self._clock = clock

    def create(self, owner: str, url: str, events: Sequence[str]) -> Endpoint:
        """A new endpoint with a new secret. Raises ``TooManyWebhooks``."""
        secrets = (new_secret(),)
        endpoint = Endpoint(new_endpoint_id(), owner, url, tuple(events), self._now_ms(), secrets)
        if self._write(endpoint, endpoint.encode(), most=ENDPOINTS_AT_MOST) == b"full":
            # Names of records that are gone may still count.
            self.all(owner)
            if self._write(endpoint, endpoint.encode(), most=ENDPOINTS_AT_MOST) == b"full":
                raise TooManyWebhooks(ENDPOINTS_AT_MOST)
        self._publish(endpoint.id, owner, endpoint.events)
        return endpoint

    def get(self, endpoint_id: str, owner: str) -> Endpoint:
        """An endpoint of this owner. Raises ``WebhookNotFound``, ``WebhookDamaged``."""
        endpoint = self._read([endpoint_id])[0] if is_endpoint_id(endpoint_id) else None
        if endpoint is None or endpoint.owner != owner:
            raise WebhookNotFound(endpoint_id)
        return endpoint

    def all(self, owner: str) -> list[Endpoint]:
        """The endpoints of an owner, oldest first. Damaged ones are left out."""
        names = self._home.key(f"owner-endpoints:{owner}")
        (found,) = read(self._home, [("ZRANGE", names, 0, -1)])
        ids = [raw.decode(errors="replace") for raw in found or ()]
        endpoints = []
        for endpoint_id in ids:
            try:
                endpoint = self._read([endpoint_id])[0]
            except WebhookDamaged:
                continue
            if endpoint is None:
                with unless_refused():
                    self._home.link.call("ZREM", names, endpoint_id)
            elif endpoint.owner == owner:
                endpoints.append(endpoint)
        return endpoints

    def delete(self, endpoint_id: str, owner: str) -> None:
        """Delete an endpoint. Its outstanding deliveries end. Raises ``WebhookNotFound``."""
        try:
            self.get(endpoint_id, owner)
        except WebhookDamaged:
            # A damaged record is its owner's if that owner's list has it.
            (score,) = read(self._home, [("ZSCORE", self._home.key(f"owner-endpoints:{owner}"), endpoint_id)])
            if score is None:
                raise WebhookNotFound(endpoint_id) from None
        self._publish(endpoint_id, owner, None)
        names = self._home.key(f"owner-endpoints:{owner}")
        read(self._home, [("DEL", self._home.key(f"endpoint:{endpoint_id}")), ("ZREM", names, endpoint_id)])

    def rotate(self, endpoint_id: str, owner: str) -> Endpoint:
        """Give an endpoint a new secret; the one before still signs for a day. Raises as ``get`` does."""
        endpoint = self.get(endpoint_id, owner)
        changed = replace(endpoint, secrets=rotated(endpoint.secrets, self._now_ms()))
        self._change(endpoint, ["secrets", encode(changed.secrets)])
        return changed

    def enable(self, endpoint_id: str, owner: str) -> Endpoint:
        """Enable an endpoint again. Raises as ``get`` does."""
        endpoint = replace(self.get(endpoint_id, owner), disabled_ms=0, disabled_reason="")
        self._change(endpoint, ["disabled_ms", 0, "disabled_reason", ""], enabled="1")
        self._publish(endpoint.id, owner, endpoint.events)
        return endpoint

    def disable(self, endpoint: Endpoint, reason: str) -> None:
        """Disable an endpoint: it gets no further events, and its outstanding deliveries end."""
        with suppress(WebhookNotFound):
            self._change(endpoint, ["disabled_ms", self._now_ms(), "disabled_reason", reason], enabled="0")
        self._publish(endpoint.id, endpoint.owner, None)

    def secrets_of(self, owner: str) -> Secrets:
        """The secrets that sign deliveries to webhooks which submits name. The first call makes one."""
        key = self._home.key(f"webhook-secrets:{owner}")
        # A Redis without memory refuses a write that would change nothing, too.
        if not self._home.link.call("EXISTS", key):
            self._home.link.call("SET", key, encode((new_secret(),)), "NX")
        return self._stored_secrets(owner)

    def rotate_secrets(self, owner: str) -> Secrets:
        """Give an owner a new secret for webhooks which submits name; the one before still signs for a day."""
        try:
            secrets = rotated(self._stored_secrets(owner), self._now_ms())
        except WebhookDamaged:
            secrets = (new_secret(),)
        self._home.link.call("SET", self._home.key(f"webhook-secrets:{owner}"), encode(secrets))
        return secrets

    def dropped(self, owner: str) -> int:
        """The number of this owner's events that were dropped, because too many deliveries were outstanding."""
        total = 0
        for shard in self._shards:
            (raw,) = read(shard, [("HGET", shard.key("dropped-events"), owner)])
            total += int(raw) if raw and raw.isdigit() else 0
        return total

    def _stored_secrets(self, owner: str) -> Secrets:
        (raw,) = read(self._home, [("GET", self._home.key(f"webhook-secrets:{owner}"))])
        try:
            return decode(raw or b"")
        except ValueError:
            raise WebhookDamaged("webhook secrets", None) from None

    def _change(
        self, endpoint: Endpoint, values: Sequence[str | bytes | int], enabled: Literal["1", "0", ""] = ""
    ) -> None:
        if self._write(endpoint, values, enabled=enabled) == b"missing":
            raise WebhookNotFound(endpoint.id)

    def _write(
        self,
        endpoint: Endpoint,
        values: Sequence[str | bytes | int],
        *,
        most: int = 0,
        enabled: Literal["1", "0", ""] = "1",
    ) -> bytes:
        args = arguments(
            "write_endpoint",
            values,
            id=endpoint.id,
            owner=endpoint.owner,
            most=most,
            created_ms=endpoint.created_ms,
            enabled=enabled,
            events=" ".join(endpoint.events),
        )
        outcome: bytes = self._home.run(script("write_endpoint"), *args)
        return outcome

    def _publish(self, endpoint_id: str, owner: str, events: Sequence[str] | None) -> None:
        """Tell every shard which events the endpoint gets; None: it gets none, and what is outstanding ends."""
        args = arguments(
            "publish_endpoint",
            id=endpoint_id,
            owner=owner,
            is_enabled=int(events is not None),
            events=" ".join(events or ()),
        )
        for shard in self._shards:
            shard.run(script("publish_endpoint"), *args)

    def _read(self, endpoint_ids: Sequence[str]) -> list[Endpoint | None]:
        replies = read(self._home, [("HGETALL", self._home.key(f"endpoint:{each}")) for each in endpoint_ids])
        if None in replies:
            raise WebhookDamaged("webhook", None)
        return [Endpoint.decode(reply) if reply else None for reply in replies]

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
