"""The follower: the one place of a web process that waits on Redis, for all its readers together.

One connection is subscribed to the channels of the logs that have readers here. The channel is a doorbell: what
counts is the stream, which is read once the subscription is confirmed, after a reconnect, when ids are missing, and
now and then while a log is quiet. So losing pub/sub costs latency and never an entry. How many connections it needs
does not depend on how many readers there are.
"""

from __future__ import annotations

import logging
import random
import time
from typing import Any

import gevent
from gevent.event import Event
from gevent.greenlet import Greenlet

from spool.background import spawn_forever
from spool.errors import StoreUnavailable
from spool.following.doorbell import Doorbell
from spool.following.feed import Feed, bound_tails
from spool.following.reader import Reader
from spool.following.reader_leases import ReaderLeases
from spool.following.replay_cache import ReplayCache
from spool.jobs.job import ENDED, Job, OnDisconnect, shard_of
from spool.jobs.log import PAGE, Row, range_command, rows_of
from spool.keys import job as job_key
from spool.keys import log as log_key
from spool.redis.link import RedisLink

log = logging.getLogger("spool.follower")

RECHECK_S = 5.0
"""A log that was quiet for so long is read again, in case the doorbell was lost."""
LINGER_S = 6.0
"""How long a feed outlives its last reader; longer than the time between two ``ReaderLeases.renew``."""
_REFILLS_AT_ONCE = 64
_WOKEN_AT_ONCE = 250


class Follower:
    """Follows logs for the readers of one process. ``tick_s`` is how often idle readers are woken to look around."""

    def __init__(self, link: RedisLink, *, tick_s: float = 0.5) -> None:
        self._link = link
        self._pages = ReplayCache(link)
        self._tick_s = tick_s
        self._feeds: dict[bytes, Feed] = {}
        self._stale: dict[Feed, None] = {}
        self._has_stale = Event()
        self._doorbell = Doorbell(link, lambda: self._feeds, self._rung, self._confirmed, self._wake_rung)
        self._rung_feeds: dict[Feed, None] = {}
        self._watches = ReaderLeases(link)
        self._draining_until: float | None = None
        self._greenlets: list[Greenlet[..., None]] = []
        self.readers: set[Reader] = set()

    def start(self) -> None:
        """Begin to follow: four greenlets, for the life of the process."""
        self._greenlets = [*self._doorbell.start(), spawn_forever(self._refill), spawn_forever(self._tick)]

    def stop(self) -> None:
        """End the greenlets and close the subscription."""
        gevent.killall(self._greenlets)
        self._doorbell.close()

    def attach(self, job: Job, after: int, *, follow: bool = True, patient: bool = False) -> Reader:
        """A reader of the job's log from ``after`` on. ``job`` as it was looked up before: the log is followed
        from its ``last_entry``, so that nothing falls between. Without ``follow`` the reader sees what there was
        then, and waits for nothing. A ``patient`` one stays to the end of a drain: its client cannot easily go on
        elsewhere."""
        feed = self._feed_of(job) if follow and not job.ended else Feed(job.id, job.last_entry, ended=job.ended)
        reader = Reader(self, self._pages, feed, after, patient=patient)
        reader.leave_at = self._leave_by(reader)
        reader.feed.readers.add(reader)
        self.readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """The reader reads no more. The feed lingers, in case it comes back."""
        self.readers.discard(reader)
        reader.feed.readers.discard(reader)
        reader.feed.left_at = time.monotonic()

    def read_again(self, feed: Feed, after: int) -> list[Row] | None:
        """What is behind ``after`` where a reader found nothing. None if Redis has lost the end of this log: that is
        no gap, it comes again, and the feed goes on from what there is. Raises ``StoreUnavailable``, also where the
        feed would not hear of it."""
        shard = shard_of(feed.job_id) or 0
        commands = [("HGET", job_key(shard, feed.job_id), "last"), range_command(feed.job_id, after, PAGE)]
        last, reply = self._link.pipeline(commands)
        if _number(last) is None or int(last) >= feed.base:
            rows = rows_of(reply)
            return None if not rows and after >= feed.base else rows
        if self._feeds.get(log_key(shard, feed.job_id).encode()) is not feed:
            raise StoreUnavailable("Redis lost the end of this log; it is sent again")
        self._rewind(feed, int(last))
        return None

    def drain(self, spread_s: float) -> None:
        """Ask every reader to leave, spread over ``spread_s`` so that they do not come back all at once."""
        self._draining_until = time.monotonic() + spread_s
        for reader in self.readers:
            reader.leave_at = self._leave_by(reader)

    def _leave_by(self, reader: Reader) -> float:
        """When a reader should leave: never, or at a random moment of the draining."""
        if self._draining_until is None:
            return float("inf")
        if reader.patient:
            return self._draining_until
        now = time.monotonic()
        return now + random.random() * max(0.0, self._draining_until - now)

    def _feed_of(self, job: Job) -> Feed:
        channel = log_key(shard_of(job.id) or 0, job.id).encode()
        before = self._feeds.get(channel)
        if before is not None and not before.ended and not before.gone:
            return before
        # An end that this process has seen and the record does not show may be one that Redis has lost. And a job that
        # was looked up is there again.
        feed = self._feeds[channel] = Feed(job.id, job.last_entry)
        feed.watched = job.on_disconnect is OnDisconnect.CANCEL
        feed.heard_at = time.monotonic()
        if before is not None:
            # Whoever had not taken that end yet must hear of the one that comes.
            self._stale.pop(before, None)
            feed.readers = before.readers
            for reader in feed.readers:
                reader.feed = feed
        self._doorbell.listen(channel)
        return feed

    # The doorbell.

    def _rung(self, channel: bytes, message: bytes) -> None:
        feed = self._feeds.get(channel)
        if feed is None:
            return
        feed.is_heard = True
        first, *entries = message.split(b"\n")
        if feed.ready and not feed.gone and feed.add(int(first), entries):
            self._rung_feeds[feed] = None
        else:
            # Not read since the channel was confirmed, given up too early, or ids are missing: the stream tells.
            self._mark_stale(feed)

    def _wake_rung(self) -> None:
        """Readers are woken once for all that came together, and get it in one piece."""
        rung, self._rung_feeds = self._rung_feeds, {}
        woken = 0
        for feed in rung:
            feed.wake()
            woken += len(feed.readers)
            if woken >= _WOKEN_AT_ONCE:
                # Others shall not wait until thousands of readers have been sent a token.
                gevent.sleep(0)
                woken = 0

    def _confirmed(self, channel: bytes) -> None:
        feed = self._feeds.get(channel)
        if feed is not None:
            self._mark_stale(feed)

    # The stream.

    def _mark_stale(self, feed: Feed) -> None:
        self._stale[feed] = None
        self._has_stale.set()

    def _refill(self) -> None:
        while True:
            self._has_stale.wait()
            feeds = list(self._stale)[:_REFILLS_AT_ONCE]
            for feed in feeds:
                del self._stale[feed]
            try:
                self._read_streams(feeds)
            except StoreUnavailable:
                for feed in feeds:
                    self._stale[feed] = None
                gevent.sleep(0.2)
            if not self._stale:
                self._has_stale.clear()

    def _read_streams(self, feeds: list[Feed]) -> None:
        commands: list[tuple[object, ...]] = []
        known = [feed.last for feed in feeds]
        for feed in feeds:
            # The state first: a job that had ended then has its terminal entry in what is read after.
            commands.append(("HMGET", job_key(shard_of(feed.job_id) or 0, feed.job_id), "status", "last"))
            commands.append(range_command(feed.job_id, feed.last, PAGE))
        replies = self._link.pipeline_each(commands)
        for feed, last, record, rows in zip(feeds, known, replies[::2], replies[1::2], strict=True):
            status, said = _value(record, feed) or (None, None)
            now_last = _number(said)
            if now_last is not None and now_last < last:
                self._rewind(feed, now_last)
            self._refilled(feed, status, _value(rows, feed) or [])

    def _rewind(self, feed: Feed, last: int) -> None:
        # Redis lost what it had last. It comes again under the same ids, or behind a jump: readers who have it wait,
        # others must not be told that it is missing. Some of it may have rung already.
        feed.jump(last)
        feed.ended = False
        self._mark_stale(feed)

    def _refilled(self, feed: Feed, status: bytes | None, reply: list[list[bytes]]) -> None:
        for entry_id, raw in rows_of(reply):
            if not feed.add(entry_id, [raw]):
                feed.jump(entry_id - 1)
                feed.add(entry_id, [raw])
        over = status is None or status.decode(errors="replace") in ENDED
        # Forgotten, or ended and without an end that could still be read: nothing more will come.
        feed.gone = over and not feed.ended and not reply
        if len(reply) == PAGE:
            self._mark_stale(feed)
            return
        was_ready, feed.ready = feed.ready, True
        if reply or feed.gone or not was_ready:
            feed.wake()

    # Time.

    def _tick(self) -> None:
        """One timer for all readers and feeds of the process."""
        while True:
            gevent.sleep(self._tick_s)
            now = time.monotonic()
            for reader in list(self.readers):
                if now >= reader.tick_at or now >= reader.leave_at:
                    reader.wake()
            self._doorbell.check(now)
            self._pages.drop_old()
            for channel, feed in list(self._feeds.items()):
                self._check_feed(channel, feed, now)
            bound_tails(self._feeds.values())
            self._watches.renew(now, self._feeds.values())

    def _check_feed(self, channel: bytes, feed: Feed, now: float) -> None:
        if not feed.readers and (feed.ended or now - feed.left_at > LINGER_S):
            del self._feeds[channel]
            self._stale.pop(feed, None)
            self._doorbell.ignore(channel)
        elif feed.is_heard:
            # A flag and not the time: a token costs no look at the clock.
            feed.is_heard = False
            feed.heard_at = now
        elif now - feed.heard_at > RECHECK_S and not feed.ended:
            feed.heard_at = now
            self._mark_stale(feed)


def _number(raw: bytes | None) -> int | None:
    """An id as the record has it; None where it has none, or something else."""
    return int(raw) if raw is not None and raw.isdigit() else None


def _value(reply: Any, feed: Feed) -> Any:
    """A reply that can be used; None where something else stands in the key's place. Raises ``StoreUnavailable`` for
    all other refusals, which say nothing about this log: a replica without its primary, a script that runs for long."""
    if not isinstance(reply, Exception):
        return reply
    if not str(reply).startswith("WRONGTYPE"):
        raise StoreUnavailable(str(reply)) from reply
    log.error("log of %s cannot be read: %s", feed.job_id, reply)
    return None
