"""An endpoint: a receiver that an owner has registered, with its secrets."""

from __future__ import annotations

import re
import secrets as random_source
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from spool.errors import WebhookDamaged
from spool.webhooks.signature import Secrets, decode, encode

_ID = re.compile(r"we_[0-9a-f]{16}")


def new_endpoint_id() -> str:
    """A new id."""
    return f"we_{random_source.token_hex(8)}"


def is_endpoint_id(text: str) -> bool:
    """Whether this can be the id of an endpoint."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint. ``events``: the types that it wants; empty: all. ``disabled_ms``: 0 while it is enabled."""

    id: str
    owner: str
    url: str
    events: tuple[str, ...]
    created_ms: int
    secrets: Secrets = field(repr=False)
    disabled_ms: int = 0
    disabled_reason: str = ""

    def encode(self) -> list[str | bytes | int]:
        """The names and values of its record."""
        return [
            *("id", self.id, "owner", self.owner, "url", self.url, "events", " ".join(self.events)),
            *("created_ms", self.created_ms, "secrets", encode(self.secrets)),
            *("disabled_ms", self.disabled_ms, "disabled_reason", self.disabled_reason),
        ]

    @classmethod
    def decode(cls, reply: Sequence[bytes]) -> Self:
        """The endpoint of a record's names and values. Raises ``WebhookDamaged``, without the values, which contain
        secrets."""
        try:
            record = dict(zip(reply[::2], reply[1::2], strict=True))
            return cls(
                id=record[b"id"].decode(),
                owner=record[b"owner"].decode(),
                url=record[b"url"].decode(),
                events=tuple(record[b"events"].decode().split()),
                created_ms=int(record[b"created_ms"]),
                secrets=decode(record[b"secrets"]),
                disabled_ms=int(record.get(b"disabled_ms", 0)),
                disabled_reason=record.get(b"disabled_reason", b"").decode(),
            )
        except (KeyError, ValueError):
            raise WebhookDamaged("webhook", None) from None
