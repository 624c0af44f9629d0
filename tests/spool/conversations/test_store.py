"""Conversations in Redis: items, turns, limits, ends, damaged records."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from spool.conversations.conversation import Conversation, Item
from spool.conversations.store import ConversationLimits, Conversations, record_key
from spool.errors import (
    ConversationDamaged,
    ConversationNotFound,
    ConversationTooLarge,
    ItemNotFound,
    OwnerConversationsFull,
    StoreUnavailable,
)
from spool.keys import HOME, prefix
from spool.redis.link import RedisLink
from tests.web.problem_shape import stored

A, B, C = (Item(f"msg_{name}", b'{"n":"%b"}' % name.encode()) for name in "abc")
SIZES = f"{prefix(HOME)}conversation-bytes:alice"


@pytest.fixture
def conversations(link: RedisLink) -> Conversations:
    """Conversations of at most 2,000 bytes, which are kept for a minute."""
    return Conversations(link, ConversationLimits(2000), ttl_s=60)


@pytest.fixture
def one(conversations: Conversations) -> Conversation:
    """A conversation of alice's."""
    return conversations.create("alice", {"topic": "x"}, [A])


def test_life_of_a_conversation(conversations: Conversations, link: RedisLink, one: Conversation) -> None:
    """Items keep their order, a deleted one is gone, and a deleted conversation leaves nothing."""
    conversations.add(one, [B, C])
    conversations.delete_item(one, B.id)
    conversations.set_metadata(one, {"topic": "y"})
    found = conversations.get(one.id, "alice")
    assert (found.metadata, found.version) == ({"topic": "y"}, 3)
    assert conversations.items(found) == [A, C]
    with pytest.raises(ItemNotFound):
        conversations.delete_item(one, B.id)
    conversations.delete(one.id, "alice")
    assert link.call("KEYS", "*conversation*") == []
    with pytest.raises(ConversationNotFound):
        conversations.delete(one.id, "alice")


@pytest.mark.parametrize(
    "call",
    [
        lambda its, one: its.get(one.id, "bob"),
        lambda its, one: its.delete(one.id, "bob"),
        lambda its, _one: its.get("conv_x", "alice"),
        lambda its, _one: its.get("conv_" + "0" * 32, "alice"),
        lambda its, one: its.add(Conversation(one.id, "bob", 0, {}, 1), [B]),
        lambda its, one: its.begin_turn(Conversation(one.id, "bob", 0, {}, 1), "j0-x", 1, 0),
    ],
    ids=["get", "delete", "malformed", "unknown", "add", "turn"],
)
def test_conversation_of_another_owner(
    conversations: Conversations, one: Conversation, call: Callable[[Conversations, Conversation], object]
) -> None:
    """It counts as missing, as do ids that no conversation has, and nothing changes."""
    with pytest.raises(ConversationNotFound):
        call(conversations, one)
    assert conversations.items(conversations.get(one.id, "alice")) == [A]


def test_turns(conversations: Conversations, one: Conversation) -> None:
    """One job has the turn until its items are added, which happens once; another one needs the items as they are."""
    assert conversations.begin_turn(one, "j0-first", one.version, 0)
    assert conversations.begin_turn(one, "j0-first", one.version, 0)
    assert not conversations.begin_turn(one, "j0-second", one.version, 0)
    held = conversations.get(one.id, "alice")
    assert held.job == "j0-first"
    for _ in range(2):
        conversations.end_turn(held, [B])
    after = conversations.get(one.id, "alice")
    assert (after.job, conversations.items(after)) == ("", [A, B])
    assert not conversations.begin_turn(one, "j0-second", one.version, 0)
    assert conversations.begin_turn(one, "j0-first", one.version, 0)
    assert conversations.get(one.id, "alice").job == ""
    assert conversations.begin_turn(one, "j0-second", after.version, 0)


def test_repeated_call_adds_once(conversations: Conversations, link: RedisLink, one: Conversation) -> None:
    """Items that are sent again, because the answer was lost, are added and counted once."""
    for _ in range(2):
        conversations.add(one, [B])
    assert conversations.items(one) == [A, B]
    assert link.call("HGET", SIZES, "all") == link.call("HGET", SIZES, one.id)


def limited(link: RedisLink, **limits: int) -> Conversations:
    """The same conversations under other limits."""
    return Conversations(link, ConversationLimits(**{"bytes": 2000, **limits}), ttl_s=60)


def test_limits_of_one(conversations: Conversations, link: RedisLink, one: Conversation) -> None:
    """Its items and their bytes are limited; a response's turn is added beyond, and a deletion makes room."""
    large = Item("msg_large", b"x" * 1900)
    with pytest.raises(ConversationTooLarge, match="2000 bytes"):
        conversations.add(one, [large])
    conversations.begin_turn(one, "j0-x", one.version, 0)
    conversations.end_turn(conversations.get(one.id, "alice"), [large])
    with pytest.raises(ConversationTooLarge):
        conversations.add(one, [B])
    conversations.delete_item(one, large.id)
    conversations.add(one, [B])
    with pytest.raises(ConversationTooLarge, match="2 items"):
        limited(link, items=2).add(one, [C])


@pytest.mark.parametrize("limit", ["of_owner", "bytes_of_owner"])
def test_limits_of_an_owner(link: RedisLink, one: Conversation, limit: str) -> None:
    """The number of conversations and the bytes of all are limited for each owner, and a deletion makes room."""
    its = limited(link, **{limit: 1 if limit == "of_owner" else 300})
    with pytest.raises(OwnerConversationsFull):
        its.create("alice", {}, [C])
    assert its.create("bob", {}, [C])
    its.delete(one.id, "alice")
    assert its.create("alice", {}, [C])


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"bytes": 1000}, ConversationTooLarge),
        ({"items": 1}, ConversationTooLarge),
        ({"bytes_of_owner": 1000}, OwnerConversationsFull),
    ],
    ids=["bytes", "items", "owner"],
)
def test_room_for_a_turn(
    conversations: Conversations, link: RedisLink, one: Conversation, limits: dict[str, int], error: type[Exception]
) -> None:
    """Turns may exceed each limit once: then there is no room for another one. The check changes nothing."""
    its = limited(link, **limits)
    its.check_room(one)
    conversations.begin_turn(one, "j0-x", one.version, 0)
    conversations.end_turn(conversations.get(one.id, "alice"), [Item("msg_large", b"x" * 900)])
    before = stored(link)
    with pytest.raises(error):
        its.check_room(one)
    conversations.check_room(one)
    assert stored(link) == before


def test_expired_conversations_make_room(link: RedisLink, one: Conversation) -> None:
    """A conversation expires with its items; its number and bytes then count no longer."""
    for name in ("", ":items", ":order"):
        assert 0 < link.call("PTTL", record_key(one.id) + name) <= 60_000
        link.call("DEL", record_key(one.id) + name)
    link.call("ZADD", f"{prefix(HOME)}conversations:alice", 1, one.id)
    other = limited(link, of_owner=1).create("alice", {}, [B])
    assert link.call("HGET", SIZES, "all") == link.call("HGET", SIZES, other.id)
    assert link.call("HGET", SIZES, one.id) is None


def test_kept_while_its_response_runs(conversations: Conversations, link: RedisLink, one: Conversation) -> None:
    """A turn keeps the conversation until its job has expired, also if items are added meanwhile."""
    seconds, _ = link.call("TIME")
    conversations.begin_turn(one, "j0-x", one.version, int(seconds) + 1000)
    conversations.add(one, [B])
    for name in ("", ":items", ":order"):
        assert link.call("PTTL", record_key(one.id) + name) > 900_000


def test_damaged_records(conversations: Conversations, link: RedisLink, one: Conversation) -> None:
    """A record that cannot be decoded is named to its owner alone; an item without text is left out; a key of another
    type is no conversation."""
    key = record_key(one.id)
    conversations.add(one, [B])
    link.call("HDEL", f"{key}:items", A.id)
    assert conversations.items(one) == [B]
    link.call("SET", f"{key}:items", "x")
    assert conversations.items(one) == []
    with pytest.raises(StoreUnavailable):
        conversations.add(one, [C])
    link.call("HSET", key, "metadata", "no JSON")
    with pytest.raises(ConversationDamaged):
        conversations.get(one.id, "alice")
    with pytest.raises(ConversationNotFound):
        conversations.get(one.id, "bob")
    conversations.delete(one.id, "alice")
    link.call("SET", key, "x")
    with pytest.raises(ConversationNotFound):
        conversations.get(one.id, "alice")
