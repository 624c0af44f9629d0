"""Blocks: the earlier messages of conversations, stored once for all jobs of an owner that share them.

A conversation is divided from its first message on, so conversations that begin alike have the same blocks. A block's
digest names its messages and all those before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

BLOCK_BYTES = 4096
"""A block ends with the message that makes it this long. What is left over stays with each job."""
OVERHEAD_BYTES = 600
"""What a block takes in Redis beside its messages."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive messages of a conversation: a JSON array."""

    digest: str
    messages: bytes

    @property
    def size(self) -> int:
        """What it takes in Redis, in bytes."""
        return len(self.messages) + OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Divided:
    """The blocks at the beginning of a conversation, and how many messages they have."""

    blocks: Sequence[Block] = ()
    count: int = 0


UNDIVIDED = Divided()


def divide(messages: Iterable[Mapping[str, Any]]) -> Divided:
    """The blocks that these messages fill, which begin a conversation and are of its earlier turns. What is left over
    is in none."""
    blocks: list[Block] = []
    parts: list[bytes] = []
    size = count = 0
    for number, message in enumerate(messages, 1):
        parts.append(orjson.dumps(message))
        size += len(parts[-1])
        if size >= BLOCK_BYTES:
            text = b"[%b]" % b",".join(parts)
            blocks.append(Block(_digest(blocks[-1].digest if blocks else "", text), text))
            parts, size, count = [], 0, number
    return Divided(tuple(blocks), count)


def join(digest: str, texts: Sequence[bytes]) -> list[dict[str, Any]]:
    """The messages of the block ``digest`` and of all blocks before it; ``texts`` are theirs, the last block's first.
    Raises ``ValueError`` where they are not the ones that the digest names."""
    found = ""
    messages: list[dict[str, Any]] = []
    for text in reversed(texts):
        found = _digest(found, text)
        messages += orjson.loads(text)
    if found != digest:
        raise ValueError("a block of its conversation is missing or damaged")
    return messages


def answered(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The messages up to the assistant's last one: the earlier turns, where a client sends all of them each time."""
    for count in range(len(messages), 0, -1):
        if messages[count - 1].get("role") == "assistant":
            return messages[:count]
    return ()


def _digest(before: str, text: bytes) -> str:
    return hashlib.sha256(b"%b\n%b" % (before.encode(), text)).hexdigest()[:32]
