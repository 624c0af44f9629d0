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
    """All pauses of lanes and deliveries, and all leases, have passed."""
    for key in link.call("KEYS", f"{P}lane-state:*"):
        link.call("HSET", key, "paused_until_ms", 1)
    for key in link.call("KEYS", f"{P}sending*"):
        link.call("DEL", key)
    for key in link.call("KEYS", f"{P}lane:*"):
        for member in link.call("ZRANGEBYSCORE", key, "-inf", "+inf"):
            at_us = link.call("HGET", f"{P}delivery:{member.decode()}", "at_us")
            waits = float(link.call("ZSCORE", key, member)) > float(at_us)
            # One that waited on its own stays behind those that did not.
            link.call("ZADD", key, "XX", float(at_us) + 1e6 if waits else at_us, member)
            link.call("HSET", f"{P}delivery:{member.decode()}", "at_us", int(at_us) - 10_000_000)
            link.call("ZADD", key, "XX", float(link.call("ZSCORE", key, member)) - 1e7, member)
    for member in link.call("ZRANGE", f"{P}lanes", 0, -1):
        link.call("ZADD", f"{P}lanes", 0, member)
