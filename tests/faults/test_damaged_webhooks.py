"""Keys of another type in the places of the outbox's: nothing fails for long, and jobs go on."""

from __future__ import annotations

import pytest

from spool.redis.link import RedisLink
from spool.webhooks.addresses import AllowedAddresses
from spool.webhooks.deliverer import Deliverer
from spool.webhooks.delivery_store import Deliveries
from spool.webhooks.endpoint_store import Endpoints
from spool.webhooks.sender import Sender
from tests.by_hand import OWNER, shards_of
from tests.spool.webhooks.outbox import P, pass_pauses, post
from tests.webhook_receiver import receiving

NAMES = (
    *("endpoints", "deliveries", "settled-deliveries", "dropped-events", "lanes", "lane", "lane-state", "sending"),
    *("sending-of", "owner-endpoints", "endpoint", "webhook-secrets", "delivery"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_key_of_another_type_holds_up_nothing(link: RedisLink, name: str) -> None:
    """With any of its keys damaged, jobs end and the next event arrives: at the endpoint, or at a new one."""
    shards = shards_of(link)
    endpoints, deliveries = Endpoints(shards), Deliveries(shards)
    loop = Deliverer(next(iter(shards)), deliveries, endpoints, Sender(AllowedAddresses.parse("127.0.0.1")))
    with receiving() as receiver:
        receiver.statuses = [500]
        first = endpoints.create(OWNER, receiver.url, [])
        endpoints.secrets_of(OWNER)
        post(link)
        loop.deliver_due()
        for key in link.call("KEYS", f"{P}{name}:*") or [f"{P}{name}:{OWNER}".encode()]:
            place = key if name not in ("lanes", "dropped-events") else f"{P}{name}".encode()
            link.call("DEL", place)
            link.call("SET", place, "x")
        endpoints.dropped(OWNER)
        deliveries.newest(OWNER, limit=10, cursor=None)
        post(link, receiver.url)
        loop.deliver_due()
        if name in ("endpoint", "endpoints", "owner-endpoints"):
            if name != "endpoint":
                endpoints.delete(first.id, OWNER)
            endpoints.create(OWNER, receiver.url, [])
        endpoints.rotate_secrets(OWNER)
        if name == "lanes":
            # What had waited is due again with the next event of its lane.
            post(link, receiver.url)
        pass_pauses(link)
        last = [post(link), post(link, receiver.url)]
        loop.deliver_due()
        pass_pauses(link)
        loop.deliver_due()
    assert set(receiver.subjects) >= set(last)
