"""The keys that sign, in a real Redis."""

from __future__ import annotations

import pytest

from spool.access.key_store import KeyStore
from spool.access.signing_keys import SigningKeys, parse_secrets
from spool.redis.link import RedisLink


def test_first_process_makes_the_key_and_others_use_it(link: RedisLink) -> None:
    """All processes sign with the same key."""
    first = SigningKeys(link).load()
    assert len(first) == 1
    assert SigningKeys(link).load() == first


def test_rotation_keeps_the_key_before(link: RedisLink) -> None:
    """Until the next rotation; processes notice each by the version of keys."""
    keys, version = SigningKeys(link), KeyStore(link).version()
    (first,) = keys.load()
    keys.rotate()
    second, before = keys.load()
    assert before == first
    assert KeyStore(link).version() != version
    keys.rotate()
    assert keys.load()[1:] == (second,)
    keys.rotate(drops_old=True)
    assert len(keys.load()) == 1


def test_short_secret_is_refused() -> None:
    """The message does not contain it."""
    assert parse_secrets(f"{'a' * 32}, {'b' * 40}") == ("a" * 32, "b" * 40)
    with pytest.raises(ValueError, match="32 characters") as caught:
        parse_secrets("too-short")
    assert "too-short" not in str(caught.value)
