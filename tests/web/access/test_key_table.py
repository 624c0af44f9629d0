"""Keys that a web process has seen, over a real Redis."""

from __future__ import annotations

import pytest

from spool.access.key_store import KeyStore
from spool.access.keys import Key
from spool.access.limits import KeyLimits
from spool.errors import StoreUnavailable
from spool.redis.link import RedisLink
from web.access.key_table import KeyTable

DRAFT = Key(id="", owner="alice", digest=b"")


class Counting(KeyStore):
    """A store that counts reads, and can be away."""

    reads = 0
    is_away = False

    def read(self, key_ids: object) -> tuple[bytes, list[Key | None]]:
        """Count it."""
        self.reads += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return super().read(key_ids)  # type: ignore[arg-type]


def test_known_key_costs_no_round_trip(link: RedisLink) -> None:
    """Redis is read for the first request alone, and after a change of any key once."""
    store = Counting(link)
    table = KeyTable(store)
    key, shown = store.create(DRAFT)
    for _ in range(3):
        assert table.caller(shown.encode()) == key.caller()
        table.look()
    assert store.reads == 1
    store.limit(key.id, KeyLimits(streams=1))
    table.look()
    table.look()
    caller = table.caller(shown.encode())
    assert caller is not None
    assert caller.limits.streams == 1
    assert store.reads == 2


def test_revocation_is_known_after_a_look(link: RedisLink) -> None:
    """In another process, too."""
    store = KeyStore(link)
    tables = [KeyTable(store), KeyTable(KeyStore(link))]
    key, shown = store.create(DRAFT)
    assert all(table.caller(shown.encode()) for table in tables)
    store.revoke(key.id)
    for table in tables:
        table.look()
        assert table.caller(shown.encode()) is table.current(key.id) is None


def test_key_ends_when_it_expires(link: RedisLink) -> None:
    """Without any look."""
    # After the time of Redis, which would delete a record that expired long ago.
    now = [4e9]
    store = KeyStore(link)
    table = KeyTable(store, clock=lambda: now[0])
    _key, shown = store.create(Key(id="", owner="alice", digest=b"", expires_ms=4_000_000_001_000))
    assert table.caller(shown.encode())
    now[0] = 4e9 + 1
    assert table.caller(shown.encode()) is None


@pytest.mark.parametrize("end", ["?", "0000", ""], ids=["form", "secret", "short"])
def test_other_secret_is_no_key(link: RedisLink, end: str) -> None:
    """The id alone is worth nothing."""
    store = KeyStore(link)
    _key, shown = store.create(DRAFT)
    assert KeyTable(store).caller((shown[: -len(end) or -1] + end).encode()) is None


def test_key_that_is_created_after_it_was_tried_is_found(link: RedisLink) -> None:
    """An unknown id is not remembered beyond the next look."""
    store = KeyStore(link)
    table = KeyTable(store)
    key, shown = store.create(DRAFT)
    record = link.call("HGETALL", f"spool:{{0}}:key:{key.id}")
    link.call("DEL", f"spool:{{0}}:key:{key.id}")
    assert table.caller(shown.encode()) is None
    link.call("HSET", f"spool:{{0}}:key:{key.id}", *record)
    table.look()
    assert table.caller(shown.encode())


def test_known_keys_stay_valid_while_redis_is_away(link: RedisLink) -> None:
    """An unknown one cannot be checked, which is no refusal."""
    store = Counting(link)
    table = KeyTable(store)
    _key, shown = store.create(DRAFT)
    _other, unknown = store.create(DRAFT)
    assert table.caller(shown.encode())
    store.is_away = True
    assert table.caller(shown.encode())
    with pytest.raises(StoreUnavailable):
        table.caller(unknown.encode())


def test_last_use_is_written_now_and_then(link: RedisLink) -> None:
    """Not with each request."""
    now = [100.0]
    store = KeyStore(link)
    table = KeyTable(store, clock=lambda: now[0])
    key, shown = store.create(DRAFT)
    assert table.caller(shown.encode())
    table.look()
    assert store.get(key.id).used_ms == 0
    now[0] = 111.0
    table.look()
    assert store.get(key.id).used_ms == 100_000
