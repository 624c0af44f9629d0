"""The follower: the one place of a web process that waits on Redis, for all its readers together.

One connection is subscribed to the channels of the logs that have readers here. The channel is a doorbell: what
counts is the stream, which is read once the subscription is confirmed, after a reconnect, when ids are missing, and
now and then while a log is quiet. So losing pub/sub costs latency and never an entry. The number of connections is
two, whatever the number of readers.
"""

from __future__ import annotations

import logging
import random
import time

import gevent
from gevent.event import Event
from gevent.greenlet import Greenlet

from spool.background import spawn_forever
from spool.errors import StoreUnavailable
from spool.feed import Feed
from spool.jobs import Job, OnDisconnect, shard_of
from spool.keys import job as job_key
from spool.keys import log as log_key
from spool.log import PAGE, range_command, rows_of
from spool.reader import Reader
from spool.redis_link import RedisLink, Subscription
from spool.scripting import script

log = logging.getLogger("spool.follower")

RECHECK_S = 5.0
"""A log that was quiet for so long is read again, in case the doorbell was lost."""
LINGER_S = 3.0
"""How long a feed outlives its last reader."""
WATCH_GRACE_S = 15.0
"""How long a job that is to end with its last reader goes on after it left."""
_REFILLS_AT_ONCE = 64
_SUBSCRIBES_AT_ONCE = 500
_SILENCE_S = 5.0
_BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class Follower:
    """Follows logs for the readers of one process. ``tick_s`` is how often idle readers are woken to look around."""

    def __init__(self, link: RedisLink, *, tick_s: float = 0.5) -> None:
        self._link = link
        self._tick_s = tick_s
        self._feeds: dict[bytes, Feed] = {}
        self._stale: dict[Feed, None] = {}
        self._has_stale = Event()
        self._outbox: list[tuple[str, bytes]] = []
        self._has_outbox = Event()
        self._subscription: Subscription | None = None
        self._heard_at = 0.0
        self._watch_at = 0.0
        self._greenlets: list[Greenlet[..., None]] = []
        self.readers: set[Reader] = set()

    def start(self) -> None:
        """Begin to follow: four greenlets, for the life of the process."""
        for run in (self._listen, self._write, self._refill, self._tick):
            self._greenlets.append(spawn_forever(run))

    def stop(self) -> None:
        """End the greenlets and close the subscription."""
        gevent.killall(self._greenlets)
        if self._subscription is not None:
            self._subscription.close()

    def attach(self, job: Job, after: int, *, follow: bool = True) -> Reader:
        """A reader of the job's log from ``after`` on. ``job`` as it was looked up before: the log is followed
        from its ``last_entry``, so that nothing falls between. Without ``follow`` the reader sees what there was
        then, and waits for nothing."""
        feed = self._feed_of(job) if follow and not job.ended else Feed(job.id, job.last_entry, ended=job.ended)
        reader = Reader(self, self._link, feed, after)
        reader.feed.readers.add(reader)
        self.readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """The reader reads no more. The feed lingers, in case it comes back."""
        self.readers.discard(reader)
        reader.feed.readers.discard(reader)
        reader.feed.left_at = time.monotonic()

    def drain(self, spread_s: float) -> None:
        """Ask every reader to leave, spread over ``spread_s`` so that they do not come back all at once."""
        now = time.monotonic()
        for reader in self.readers:
            reader.leave_at = min(reader.leave_at, now + random.random() * spread_s)

    def _feed_of(self, job: Job) -> Feed:
        channel = log_key(shard_of(job.id) or 0, job.id).encode()
        feed = self._feeds.get(channel)
        if feed is None:
            feed = self._feeds[channel] = Feed(job.id, job.last_entry)
            feed.watched = job.on_disconnect is OnDisconnect.CANCEL
            feed.heard_at = time.monotonic()
            self._send("SUBSCRIBE", channel)
        return feed

    # The subscription: one greenlet reads, one writes.

    def _listen(self) -> None:
        failures = 0
        while True:
            subscription = self._link.subscription()
            try:
                subscription.connect()
                self._subscription, self._heard_at = subscription, time.monotonic()
                for channel in self._feeds:
                    self._send("SUBSCRIBE", channel)
                while True:
                    self._heard(subscription.read())
                    failures = 0
            except StoreUnavailable as exc:
                if failures == 0:
                    log.warning("doorbell lost, reconnecting: %s", exc)
            finally:
                self._subscription = None
                subscription.close()
            gevent.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            failures += 1

    def _heard(self, message: object) -> None:
        self._heard_at = time.monotonic()
        if not isinstance(message, list):
            return
        feed = self._feeds.get(message[1])
        if feed is None:
            return
        if message[0] == b"message":
            first, *entries = message[2].split(b"\n")
            feed.heard_at = self._heard_at
            if feed.ready and feed.add(int(first), entries):
                feed.wake()
                return
        if message[0] != b"unsubscribe":
            # Subscribed anew, or ids are missing: the stream tells.
            self._mark_stale(feed)

    def _send(self, command: str, channel: bytes) -> None:
        self._outbox.append((command, channel))
        self._has_outbox.set()

    def _write(self) -> None:
        """Sends what gathered, so that a thousand attaches are a few commands."""
        while True:
            self._has_outbox.wait()
            self._has_outbox.clear()
            subscription = self._subscription
            if subscription is None:
                # Whoever connects next subscribes to all feeds.
                self._outbox.clear()
                continue
            outbox, self._outbox = self._outbox, []
            try:
                for command, channels in _runs(outbox):
                    subscription.send(command, *channels)
            except StoreUnavailable:
                subscription.close()

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
        for feed in feeds:
            commands.append(range_command(feed.job_id, feed.last, PAGE))
            commands.append(("EXISTS", job_key(shard_of(feed.job_id) or 0, feed.job_id)))
        replies = self._link.pipeline(commands)
        for feed, rows, exists in zip(feeds, replies[::2], replies[1::2], strict=True):
            self._refilled(feed, rows, bool(exists))

    def _refilled(self, feed: Feed, reply: list[list[bytes]], exists: bool) -> None:
        for entry_id, raw in rows_of(reply):
            if not feed.add(entry_id, [raw]):
                feed.jump(entry_id - 1)
                feed.add(entry_id, [raw])
        feed.gone = not exists
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
            for reader in self.readers:
                if now >= reader.tick_at or now >= reader.leave_at:
                    reader.wake()
            self._check_doorbell(now)
            for channel, feed in list(self._feeds.items()):
                self._check_feed(channel, feed, now)
            if now >= self._watch_at:
                self._watch_at = now + WATCH_GRACE_S / 3
                self._watch()

    def _check_doorbell(self, now: float) -> None:
        silent_s = now - self._heard_at
        if self._subscription is None or silent_s < _SILENCE_S:
            return
        if silent_s > 2 * _SILENCE_S:
            self._subscription.close()
        else:
            self._outbox.append(("PING", b"spool"))
            self._has_outbox.set()

    def _check_feed(self, channel: bytes, feed: Feed, now: float) -> None:
        if not feed.readers and (feed.ended or now - feed.left_at > LINGER_S):
            del self._feeds[channel]
            self._stale.pop(feed, None)
            self._send("UNSUBSCRIBE", channel)
        elif now - feed.heard_at > RECHECK_S and not feed.ended:
            feed.heard_at = now
            self._mark_stale(feed)

    def _watch(self) -> None:
        """Says of the jobs that are to end with their last reader that they have one."""
        watched: dict[int, list[str]] = {}
        for feed in self._feeds.values():
            if feed.watched and feed.readers:
                watched.setdefault(shard_of(feed.job_id) or 0, []).append(feed.job_id)
        for shard, job_ids in watched.items():
            try:
                self._link.run(script("watch"), shard, round(WATCH_GRACE_S * 1000), *job_ids)
            except StoreUnavailable as exc:
                log.warning("could not say who reads: %s", exc)


def _runs(outbox: list[tuple[str, bytes]]) -> list[tuple[str, list[bytes]]]:
    """Neighbours of the same command joined, in order, at most ``_SUBSCRIBES_AT_ONCE`` channels in one."""
    runs: list[tuple[str, list[bytes]]] = []
    for command, channel in outbox:
        if runs and runs[-1][0] == command and command != "PING" and len(runs[-1][1]) < _SUBSCRIBES_AT_ONCE:
            runs[-1][1].append(channel)
        else:
            runs.append((command, [channel]))
    return runs
