"""Conversations in Redis, with the limits of their number and size.

All keys are in shard 0. A conversation expires some time after its last change. Its response adds its turn when the
conversation is next used: until then the record names the job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import orjson

from spool.conversations.conversation import Conversation, Item, is_conversation_id, new_conversation_id
from spool.errors import ConversationNotFound, ConversationTooLarge, ItemNotFound, OwnerConversationsFull
from spool.keys import HOME, prefix
from spool.redis.errors import is_wrong_type, translated
from spool.redis.link import RedisLink
from spool.redis.script import Script


@dataclass(frozen=True, slots=True)
class ConversationLimits:
    """The most conversations of one owner, and the bytes of their items; the most items of one conversation, and their
    bytes, before its last response adds its turn."""

    bytes: int
    items: int = 2000
    of_owner: int = 10_000
    bytes_of_owner: int = 64 * 1024 * 1024


def _script(name: str) -> Script:
    return Script.of(name, (resources.files("spool.conversations") / "lua" / f"{name}.lua").read_text(encoding="utf-8"))


_WRITE, _BEGIN, _CHANGE = _script("write_conversation"), _script("begin_turn"), _script("change_conversation")


def record_key(conversation_id: str) -> str:
    """The Redis key of a conversation's record."""
    return f"{prefix(HOME)}kept-conversation:{conversation_id}"


class Conversations:
    """The conversations of all owners; one of another owner counts as missing. Every call may raise
    ``StoreUnavailable``, and with an id ``ConversationNotFound``."""

    def __init__(self, link: RedisLink, limits: ConversationLimits, *, ttl_s: int) -> None:
        self._link = link
        self._limits = limits
        self._ttl_s = ttl_s

    def create(self, owner: str, metadata: Mapping[str, str], items: Sequence[Item]) -> Conversation:
        """A new conversation. Raises ``OwnerConversationsFull``, ``ConversationTooLarge``."""
        conversation_id = new_conversation_id()
        self._write(conversation_id, owner, items, metadata=orjson.dumps(metadata).decode())
        return self.get(conversation_id, owner)

    def get(self, conversation_id: str, owner: str) -> Conversation:
        """The conversation. Raises ``ConversationDamaged``."""
        if not is_conversation_id(conversation_id):
            raise ConversationNotFound(conversation_id)
        (reply,) = self._link.pipeline_each([("HGETALL", record_key(conversation_id))])
        if isinstance(reply, Exception) and not is_wrong_type(reply):
            raise translated(reply) from reply
        # A record without an owner belongs to no caller.
        if isinstance(reply, Exception) or not _is_of(reply, owner):
            raise ConversationNotFound(conversation_id)
        return Conversation.decode(reply)

    def items(self, conversation: Conversation) -> list[Item]:
        """All items, in order. An item whose text is lost is left out."""
        key = record_key(conversation.id)
        replies = self._link.pipeline_each([("ZRANGE", f"{key}:order", 0, -1), ("HGETALL", f"{key}:items")])
        for reply in replies:
            if isinstance(reply, Exception) and not is_wrong_type(reply):
                raise translated(reply) from reply
        order, texts = ([] if isinstance(reply, Exception) else reply for reply in replies)
        known = dict(zip(texts[::2], texts[1::2], strict=True))
        return [Item(raw.decode(errors="replace"), known[raw]) for raw in order if raw in known]

    def add(self, conversation: Conversation, items: Sequence[Item]) -> None:
        """Add items at the end. Raises ``OwnerConversationsFull``, ``ConversationTooLarge``."""
        self._write(conversation.id, conversation.owner, items)

    def check_room(self, conversation: Conversation) -> None:
        """Check that neither the conversation nor its owner exceeds a limit, so that a response may add to it. Raises
        ``OwnerConversationsFull``, ``ConversationTooLarge``."""
        self._write(conversation.id, conversation.owner, [])

    def begin_turn(self, conversation: Conversation, job_id: str, version: int, expires_at: float) -> bool:
        """Make the job the response that adds the next turn, if the items are still those of ``version`` and no other
        response is to add one. Keeps the conversation until ``expires_at``, seconds since the epoch."""
        args = (conversation.id, conversation.owner, job_id, version, round(expires_at * 1000))
        outcome = self._link.run(_BEGIN, HOME, *args)
        if outcome == b"gone":
            raise ConversationNotFound(conversation.id)
        return bool(outcome == b"begun")

    def end_turn(self, conversation: Conversation, items: Sequence[Item]) -> None:
        """Add the turn of ``conversation.job``, once; without items, only forget the job."""
        self._write(conversation.id, conversation.owner, items, job=conversation.job)

    def set_metadata(self, conversation: Conversation, metadata: Mapping[str, str]) -> None:
        """Replace the metadata."""
        self._change(conversation.id, conversation.owner, "metadata", orjson.dumps(metadata).decode())

    def delete_item(self, conversation: Conversation, item_id: str) -> None:
        """Delete an item. Raises ``ItemNotFound``."""
        self._change(conversation.id, conversation.owner, "item", item_id)

    def delete(self, conversation_id: str, owner: str) -> None:
        """Delete the conversation; its responses stay."""
        if not is_conversation_id(conversation_id):
            raise ConversationNotFound(conversation_id)
        self._change(conversation_id, owner, "all", "")

    def _write(
        self, conversation_id: str, owner: str, items: Sequence[Item], *, metadata: str = "", job: str = ""
    ) -> None:
        limits = self._limits
        most = (limits.of_owner, limits.bytes_of_owner, limits.items, limits.bytes)
        flat = [part for item in items for part in (item.id, item.text)]
        outcome = self._link.run(_WRITE, HOME, conversation_id, owner, metadata, job, self._ttl_s, *most, *flat)
        match outcome:
            case b"gone":
                raise ConversationNotFound(conversation_id)
            case b"owner_full":
                raise OwnerConversationsFull(60.0)
            case b"full":
                raise ConversationTooLarge(f"{limits.bytes} bytes")
            case b"too_many":
                raise ConversationTooLarge(f"{limits.items} items")

    def _change(self, conversation_id: str, owner: str, what: str, value: str) -> None:
        outcome = self._link.run(_CHANGE, HOME, conversation_id, owner, what, value)
        if outcome == b"gone":
            raise ConversationNotFound(conversation_id)
        if outcome == b"no_item":
            raise ItemNotFound(value)


def _is_of(reply: Sequence[bytes], owner: str) -> bool:
    return dict(zip(reply[::2], reply[1::2], strict=True)).get(b"owner") == owner.encode()
