"""Posted events, and the passing of the times for which their deliveries wait."""

from __future__ import annotations

import orjson

from spool.keys import prefix
from spool.redis.link import RedisLink
from spool.webhooks.target import Target
from tests.by_hand import OWNER, HandWorker, submit

P = prefix(0)


def post(link: RedisLink, url: str = "", owner: str = OWNER, **fields: str) -> str:
    """The id of a job that has ended, with a webhook of its own if there is a ``url``."""
    worker = HandWorker(link)
    if url:
        lane = Target.parse(url).lane_of(owner)
        fields["webhook"] = orjson.dumps({"url": url, "events": "", "lane": lane}).decode()
    job = submit(link, owner=owner, **fields)
    worker.finish(worker.take_job(job.id))
    return job.id


def pass_pauses(link: RedisLink) -> None:
    """All pauses of lanes and deliveries, and all leases, have passed. What waited on its own stays behind the others.
    Damaged keys are left alone."""
    for key in hashes(link, "lane-state:*"):
        link.call("HSET", key, "paused_until_ms", 1)
    for key in link.call("KEYS", f"{P}sending*"):
        link.call("DEL", key)
    for key in hashes(link, "delivery:*"):
        lane, name, at_us = link.call("HMGET", key, "lane", "id", "at_us")
        place = f"{P}lane:{lane.decode()}"
        waits_until = link.call("ZSCORE", place, name) or 0
        link.call(
            "ZADD", place, "XX", int(at_us) - 10_000_000 + (1_000_000 if float(waits_until) > int(at_us) else 0), name
        )
        link.call("HSET", key, "at_us", int(at_us) - 10_000_000)
    for member in link.call("ZRANGE", f"{P}lanes", 0, -1):
        link.call("ZADD", f"{P}lanes", 0, member)


def hashes(link: RedisLink, pattern: str) -> list[bytes]:
    """The keys of this pattern that are hashes."""
    return [key for key in link.call("KEYS", f"{P}{pattern}") if link.call("TYPE", key) == b"hash"]
