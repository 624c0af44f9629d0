"""Keys in a real Redis."""

from __future__ import annotations

import pytest

from spool.access import key_store
from spool.access.key_store import KeyStore, key_of
from spool.access.keys import Key
from spool.access.limits import KeyLimits
from spool.errors import KeyNotFound, StoreFull
from spool.redis.link import RedisLink

DRAFT = Key(id="", owner="alice", digest=b"")


def test_created_key_is_found_and_its_secret_is_not_stored(link: RedisLink) -> None:
    """Redis has the digest alone."""
    key, shown = KeyStore(link).create(DRAFT)
    assert KeyStore(link).get(key.id) == key
    secret = shown.rpartition(f"{key.id}_")[2]
    assert secret.encode() not in b"".join(link.call("HGETALL", key_of(key.id)))


def test_every_change_changes_the_version(link: RedisLink) -> None:
    """Processes that compare versions notice a creation, new limits and a revocation, but no second revocation."""
    store = KeyStore(link)
    versions = [store.version()]
    key, _shown = store.create(DRAFT)
    versions.append(store.version())
    assert store.limit(key.id, KeyLimits(streams=1)).limits.streams == 1
    versions.append(store.version())
    revoked = store.revoke(key.id)
    versions.append(store.version())
    assert revoked.revoked_ms
    assert len(set(versions)) == 4
    assert store.revoke(key.id) == revoked
    assert store.version() == versions[-1]


def test_limits_do_not_undo_a_revocation(link: RedisLink) -> None:
    """Each change writes its own field."""
    store = KeyStore(link)
    key, _shown = store.create(DRAFT)
    store.revoke(key.id)
    assert store.limit(key.id, KeyLimits(streams=1)).revoked_ms


def test_key_is_revoked_without_memory(link: RedisLink) -> None:
    """A full Redis keeps no leaked key alive, which may be what fills it."""
    store = KeyStore(link)
    key, _shown = store.create(DRAFT)
    version = store.version()
    link.call("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(StoreFull):
            link.call("SET", "x", "y")
        assert store.revoke(key.id).revoked_ms
        assert store.limit(key.id, KeyLimits(streams=1)).limits.streams == 1
    finally:
        link.call("CONFIG", "SET", "maxmemory", 0)
    assert store.version() != version


def test_list_is_by_age_and_leaves_out_what_expired(link: RedisLink) -> None:
    """The oldest is first, another owner's keys are left out, and a name without a record goes away."""
    store = KeyStore(link, clock=iter(range(1, 99)).__next__)
    first, _ = store.create(DRAFT)
    gone, _ = store.create(DRAFT)
    second, _ = store.create(DRAFT)
    store.create(Key(id="", owner="bob", digest=b""))
    link.call("DEL", key_of(gone.id))
    assert [key.id for key in store.all("alice")] == [first.id, second.id]
    assert link.call("ZCARD", key_store._ALL) == 3


def test_record_expires_a_month_after_its_end(link: RedisLink) -> None:
    """A key without an end stays; one that was revoked can be listed for a while."""
    store = KeyStore(link)
    key, _shown = store.create(DRAFT)
    assert link.call("PTTL", key_of(key.id)) == -1
    store.revoke(key.id)
    assert 0 < link.call("PTTL", key_of(key.id)) <= 30 * 86_400_000


def test_last_use_of_a_key_that_is_gone_is_not_written(link: RedisLink) -> None:
    """It makes no record, and an earlier use does not replace a later one."""
    store = KeyStore(link)
    key, _shown = store.create(DRAFT)
    store.note_used({key.id: 7, "a" * 12: 7})
    store.note_used({key.id: 5})
    assert store.get(key.id).used_ms == 7
    assert not link.call("EXISTS", key_of("a" * 12))


@pytest.mark.parametrize("key_id", ["a" * 12, "", "x:y"])
def test_unknown_key(link: RedisLink, key_id: str) -> None:
    """No call makes a key of an unknown id."""
    store = KeyStore(link)
    for call in (store.get, store.revoke, lambda key_id: store.limit(key_id, KeyLimits())):
        with pytest.raises(KeyNotFound):
            call(key_id)
    assert not store.all()
