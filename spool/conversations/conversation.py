"""A conversation: its record, which is a Redis hash (see ``spool.keys``), and its id."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from spool.errors import ConversationDamaged

_ID = re.compile(r"conv_[0-9a-f]{32}")


def new_conversation_id() -> str:
    """A new id. It cannot be guessed."""
    return f"conv_{secrets.token_hex(16)}"


def is_conversation_id(value: str) -> bool:
    """Whether it has the form of a conversation's id."""
    return _ID.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Item:
    """One item: its id, and its JSON text."""

    id: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation. ``job`` is the response that will add its turn, or empty; ``version`` counts changes of the
    items."""

    id: str
    owner: str
    created_ms: int
    metadata: Mapping[str, str]
    version: int
    job: str = ""

    @classmethod
    def decode(cls, reply: Sequence[bytes]) -> Conversation:
        """The conversation of a record, as HGETALL returns it. Raises ``ConversationDamaged``."""
        try:
            record = dict(zip((name.decode() for name in reply[::2]), reply[1::2], strict=True))
            metadata = orjson.loads(record["metadata"])
            return cls(
                id=record["id"].decode(),
                owner=record["owner"].decode(),
                created_ms=int(record["created_ms"]),
                metadata={str(name): str(value) for name, value in metadata.items()},
                version=int(record["version"]),
                job=record.get("job", b"").decode(),
            )
        except (KeyError, ValueError, AttributeError) as exc:
            raise ConversationDamaged("the record of a conversation", reply) from exc
