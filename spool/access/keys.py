"""Keys in Redis: ``sk-spool-ID_SECRET``. Redis has a digest of the secret alone.

A secret has 256 random bits, so a plain SHA-256 of it cannot be reversed, and needs no slow hash.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from spool.access.caller import BY_DEFAULT, SCOPES, Caller, Kind, is_owner
from spool.access.limits import NO_KEY_LIMITS, KeyLimits
from spool.access.static_keys import digest_of
from spool.errors import KeyDamaged

PREFIX = "sk-spool-"
_SHOWN = re.compile(rb"sk-spool-([a-z2-7]{12})_([A-Za-z0-9_-]{43})")
_ID = re.compile(r"[a-z2-7]{12}")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class Shown(NamedTuple):
    """The two parts of a key, as a request shows it."""

    id: str
    secret: bytes


def new_key() -> tuple[str, str]:
    """The id of a new key, and the whole key, which is shown once."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    return key_id, f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"


def parse_shown(shown: bytes) -> Shown | None:
    """The parts of a shown key; None if it has another form."""
    match = _SHOWN.fullmatch(shown)
    return Shown(match[1].decode(), match[2]) if match else None


def is_key_id(text: str) -> bool:
    """Whether this has the form of a key's id."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key's record. Times are milliseconds since the epoch; 0: never, or not yet."""

    id: str
    owner: str
    digest: bytes = field(repr=False)
    name: str = ""
    scopes: frozenset[str] = BY_DEFAULT
    models: frozenset[str] | None = None
    """The models that it may name; None: all."""
    limits: KeyLimits = NO_KEY_LIMITS
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_ms: int = 0
    expires_ms: int = 0
    revoked_ms: int = 0
    used_ms: int = 0

    def is_valid(self, now_ms: int) -> bool:
        """Whether it is neither revoked nor expired."""
        return not self.revoked_ms and (not self.expires_ms or now_ms < self.expires_ms)

    def has_secret(self, secret: bytes) -> bool:
        """Whether this is its secret, compared in constant time."""
        return hmac.compare_digest(digest_of(secret), self.digest)

    def caller(self) -> Caller:
        """The caller that shows it."""
        return Caller(
            owner=self.owner,
            scopes=self.scopes,
            kind=Kind.KEY,
            credential=self.id,
            models=self.models,
            limits=self.limits,
        )

    def encode(self) -> dict[str, Any]:
        """The fields of its hash in Redis."""
        return {
            "id": self.id,
            "owner": self.owner,
            "digest": self.digest.hex(),
            "name": self.name,
            "scopes": " ".join(sorted(self.scopes)),
            "models": "" if self.models is None else orjson.dumps(sorted(self.models)),
            "limits": self.limits.encode(),
            "metadata": orjson.dumps(dict(self.metadata)),
            "created_ms": self.created_ms,
            "expires_ms": self.expires_ms,
        }

    @classmethod
    def decode(cls, reply: Sequence[bytes]) -> Key:
        """The key of a reply to HGETALL. Raises ``KeyDamaged``."""
        try:
            record = {reply[at].decode(): reply[at + 1].decode() for at in range(0, len(reply), 2)}
            if not is_owner(record["owner"]):
                raise ValueError("not an owner")
            return cls(
                id=record["id"],
                owner=record["owner"],
                digest=bytes.fromhex(record["digest"]),
                name=record.get("name", ""),
                # A scope of a later version means nothing here.
                scopes=frozenset(record["scopes"].split()) & frozenset(SCOPES),
                models=frozenset(orjson.loads(record["models"])) if record.get("models") else None,
                limits=KeyLimits.of(orjson.loads(record.get("limits") or "{}")),
                metadata=orjson.loads(record.get("metadata") or "{}"),
                created_ms=int(record["created_ms"]),
                expires_ms=int(record.get("expires_ms") or 0),
                revoked_ms=int(record.get("revoked_ms") or 0),
                used_ms=int(record.get("used_ms") or 0),
            )
        except (KeyError, ValueError, TypeError, IndexError) as exc:
            raise KeyDamaged("key", reply) from exc
