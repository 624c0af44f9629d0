"""Endpoints in Redis: their life, their limit, and their secrets."""

from __future__ import annotations

import pytest

from spool.errors import TooManyWebhooks, UndecodableRecord, WebhookNotFound
from spool.redis.link import RedisLink
from spool.webhooks.endpoint_store import ENDPOINTS_AT_MOST, Endpoints
from tests.by_hand import OWNER, shards_of
from tests.spool.webhooks.outbox import P

URL = "https://one.example/"


@pytest.fixture
def endpoints(link: RedisLink) -> Endpoints:
    """The endpoints."""
    return Endpoints(shards_of(link))


def published(link: RedisLink) -> list[bytes]:
    """The endpoints that get the events of the owner."""
    found: list[bytes] = link.call("HKEYS", f"{P}endpoints:{OWNER}")
    return found


def test_life_of_an_endpoint(link: RedisLink, endpoints: Endpoints) -> None:
    """An endpoint gets events from its creation to its end, except while it is disabled."""
    made = endpoints.create(OWNER, URL, ["job.failed"])
    assert endpoints.get(made.id, OWNER) == made
    assert link.call("HGET", f"{P}endpoints:{OWNER}", made.id) == b"job.failed"
    endpoints.disable(made, "it is gone")
    disabled = endpoints.get(made.id, OWNER)
    assert (disabled.disabled_ms > 0, disabled.disabled_reason, published(link)) == (True, "it is gone", [])
    assert endpoints.enable(made.id, OWNER) == made
    assert published(link) == [made.id.encode()]
    endpoints.delete(made.id, OWNER)
    assert (endpoints.all(OWNER), published(link)) == ([], [])
    assert link.call("KEYS", f"{P}*endpoint*{made.id}") == []


def test_foreign_and_unknown_endpoints_are_not_found(endpoints: Endpoints) -> None:
    """Another owner's endpoint, an unknown one and what is no id look the same, to every call."""
    made = endpoints.create(OWNER, URL, [])
    for call in (endpoints.get, endpoints.rotate, endpoints.enable, endpoints.delete):
        for name in (made.id, "we_0000000000000000", "we_1", "", f"{made.id}:x"):
            with pytest.raises(WebhookNotFound):
                call(name, "bob")
    assert endpoints.get(made.id, OWNER) == made


def test_owner_has_a_limit(link: RedisLink, endpoints: Endpoints) -> None:
    """Beyond the limit none is created; a name whose record is gone does not count."""
    made = [endpoints.create(OWNER, URL, []) for _ in range(ENDPOINTS_AT_MOST)]
    with pytest.raises(TooManyWebhooks):
        endpoints.create(OWNER, URL, [])
    link.call("DEL", f"{P}endpoint:{made[0].id}")
    endpoints.create(OWNER, URL, [])
    assert len(endpoints.all(OWNER)) == ENDPOINTS_AT_MOST
    endpoints.create("bob", URL, [])


def test_rotation_changes_nothing_else(endpoints: Endpoints) -> None:
    """A rotation adds a secret before the old one; a disabled endpoint stays disabled."""
    made = endpoints.create(OWNER, URL, [])
    endpoints.disable(made, "gone")
    rotated = endpoints.rotate(made.id, OWNER)
    stored = endpoints.get(made.id, OWNER)
    assert stored == rotated
    assert stored.secrets[1].text == made.secrets[0].text != stored.secrets[0].text
    assert stored.disabled_reason == "gone"


def test_secret_of_submits_is_made_once(endpoints: Endpoints) -> None:
    """It is the same for every call until it is rotated, and another one for each owner."""
    first = endpoints.secrets_of(OWNER)
    assert endpoints.secrets_of(OWNER) == first != endpoints.secrets_of("bob")
    rotated = endpoints.rotate_secrets(OWNER)
    assert endpoints.secrets_of(OWNER) == rotated
    assert rotated[1].text == first[0].text


def test_damaged_record_can_be_deleted(link: RedisLink, endpoints: Endpoints) -> None:
    """A damaged endpoint is left out of the list and can be deleted by its owner alone; no error shows a secret."""
    made = endpoints.create(OWNER, URL, [])
    link.call("HSET", f"{P}endpoint:{made.id}", "secrets", made.secrets[0].text)
    assert endpoints.all(OWNER) == []
    with pytest.raises(UndecodableRecord) as caught:
        endpoints.get(made.id, OWNER)
    assert made.secrets[0].text not in repr((caught.value, caught.value.raw, caught.value.reason))
    with pytest.raises(WebhookNotFound):
        endpoints.delete(made.id, "bob")
    endpoints.delete(made.id, OWNER)
    assert published(link) == []


def test_no_representation_shows_a_secret(endpoints: Endpoints) -> None:
    """An endpoint can stand in a log line."""
    made = endpoints.create(OWNER, URL, [])
    assert made.secrets[0].text not in repr(made)


def test_endpoints_end_in_a_full_redis(link: RedisLink, endpoints: Endpoints) -> None:
    """Without memory, an endpoint is disabled and deleted, and known secrets sign."""
    made, secrets = endpoints.create(OWNER, URL, []), endpoints.secrets_of(OWNER)
    link.call("CONFIG", "SET", "maxmemory", 1)
    try:
        assert endpoints.secrets_of(OWNER) == secrets
        endpoints.disable(made, "it is gone")
        assert (endpoints.get(made.id, OWNER).disabled_reason, published(link)) == ("it is gone", [])
        endpoints.delete(made.id, OWNER)
    finally:
        link.call("CONFIG", "SET", "maxmemory", 0)
    assert endpoints.all(OWNER) == []
