"""Blocks: the earlier messages of conversations, stored once for all jobs of an owner that share them.

Division starts at the first message, so conversations with the same beginning have the same blocks. A block's digest
covers its messages and all messages before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

BLOCK_BYTES = 4096
"""A block ends with the message that brings it to this length. The remaining messages stay with each job."""
OVERHEAD_BYTES = 600
"""Bytes that a block occupies in Redis besides its messages."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive messages of a conversation, as a JSON array."""

    digest: str
    messages: bytes

    @property
    def size(self) -> int:
        """Bytes that it occupies in Redis."""
        return len(self.messages) + OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Divided:
    """The blocks at the beginning of a conversation, and the number of messages in them."""

    blocks: Sequence[Block] = ()
    count: int = 0


UNDIVIDED = Divided()


def divide(messages: Iterable[Mapping[str, Any]]) -> Divided:
    """Divide the first messages of a conversation (its earlier turns) into full blocks. Messages after the last full
    block are in none."""
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
    """The messages of the block ``digest`` and of all blocks before it. ``texts`` are those blocks, last block first.
    Raises ``ValueError`` if they do not match the digest."""
    actual = ""
    messages: list[dict[str, Any]] = []
    for text in reversed(texts):
        actual = _digest(actual, text)
        messages += orjson.loads(text)
    if actual != digest:
        raise ValueError("a block of its conversation is missing or damaged")
    return messages


def answered(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The messages up to the assistant's last one: the earlier turns, for a client that sends all turns every time."""
    for count in range(len(messages), 0, -1):
        if messages[count - 1].get("role") == "assistant":
            return messages[:count]
    return ()


def _digest(before: str, text: bytes) -> str:
    return hashlib.sha256(b"%b\n%b" % (before.encode(), text)).hexdigest()[:32]
