"""Leases of events."""

from __future__ import annotations

from spool.following.event_leases import RENEWAL_S, EventLeases
from spool.following.feed import Feed
from spool.following.follower import Follower
from spool.jobs.event_logs import events_as_log, log_of_events, watch
from spool.keys import prefix
from spool.redis.link import RedisLink

KEY = f"{prefix(0)}events:bob"


def test_lease_is_renewed_while_events_are_read(link: RedisLink) -> None:
    """The events of an owner with a reader are kept for another hour, once an interval; jobs and feeds without readers
    are left out."""
    watch(link, ["bob"])
    feed, leases = Feed(log_of_events("bob"), 0), EventLeases(link)
    idle = Feed(log_of_events("carol"), 0)
    feed.readers.add(Follower(link).attach(events_as_log("bob", 0), 0))
    link.call("PEXPIRE", KEY, 60_000)
    leases.renew(1000.0, [feed, idle, Feed("j0-0123456789abcdef", 0)])
    assert link.call("PTTL", KEY) > 60_000
    link.call("PEXPIRE", KEY, 60_000)
    leases.renew(1001.0, [feed])
    assert link.call("PTTL", KEY) <= 60_000
    leases.renew(1000.0 + RENEWAL_S, [feed])
    assert link.call("PTTL", KEY) > 60_000
    assert not link.call("EXISTS", f"{prefix(0)}events:carol")


def test_lost_events_are_written_again(link: RedisLink) -> None:
    """A lease that Redis has lost is begun again."""
    feed = Feed(log_of_events("bob"), 0)
    feed.readers.add(Follower(link).attach(events_as_log("bob", 0), 0))
    EventLeases(link).renew(1.0, [feed])
    assert link.call("EXISTS", KEY) == 1
