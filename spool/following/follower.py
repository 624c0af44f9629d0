"""The follower: the only part of a web process that waits on Redis, for all its readers.

One connection is subscribed to the channels of all logs with readers here. A channel is only a doorbell; the stream is
the source of truth. It is read once the subscription is confirmed, after a reconnect, when ids are missing, and
regularly while a log is quiet. So a lost message costs latency, but no entry. The number of connections does not depend
on the number of readers.
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
from spool.deadline import Deadline
from spool.errors import StoreUnavailable
from spool.following.doorbell import Doorbell
from spool.following.event_leases import EventLeases
from spool.following.feed import Feed, bound_tails
from spool.following.reader import Reader
from spool.following.reader_leases import ReaderLeases
from spool.following.replay_cache import ReplayCache
from spool.jobs.job import ENDED, Job, OnDisconnect, Status
from spool.jobs.log import Logs, Row, page_of, range_command
from spool.jobs.seen_batches import SeenBatches
from spool.keys import job as job_key
from spool.keys import log as log_key
from spool.redis.errors import is_wrong_type, translated
from spool.redis.link import RedisLink

log = logging.getLogger("spool.follower")

RECHECK_S = 5.0
"""Interval at which a quiet log is read again, in case a message was lost."""
LINGER_S = 6.0
"""How long a feed outlives its last reader; longer than the interval of ``ReaderLeases.renew``."""
_REFILLS_AT_ONCE = 64
_WOKEN_AT_ONCE = 250


class Follower:
    """Follows logs for the readers of one process. ``tick_s`` is the interval at which due idle readers are woken.
    ``seen`` notes what is read of batches."""

    def __init__(self, link: RedisLink, *, tick_s: float = 0.5, seen: SeenBatches | None = None) -> None:
        self._link = link
        self._seen = seen or SeenBatches()
        self._logs = Logs(link, self._seen)
        self._pages = ReplayCache(self._logs)
        self._tick_s = tick_s
        self._feeds: dict[bytes, Feed] = {}
        self._stale: dict[Feed, None] = {}
        self._queued: set[Feed] = set()
        self._has_stale = Event()
        self._doorbell = Doorbell(link, lambda: self._feeds, self._rung, self._confirmed, self._wake_rung)
        self._rung_feeds: dict[Feed, None] = {}
        self._watches = ReaderLeases(link)
        self._event_leases = EventLeases(link)
        self._drain: Deadline | None = None
        self.notice: str | None = None
        """The notice of the operator to all readers."""
        self._greenlets: list[Greenlet[..., None]] = []
        self.readers: set[Reader] = set()

    def start(self) -> None:
        """Start four greenlets for the life of the process."""
        self._greenlets = [*self._doorbell.start(), spawn_forever(self._refill), spawn_forever(self._tick)]

    def seen_batches(self) -> dict[str, int]:
        """The newest entry that this process has read of each batch's log."""
        for feed in self._feeds.values():
            self._seen.note(feed.job_id, feed.last)
        return self._seen.all()

    def disconnect(self) -> None:
        """Drop the subscription with all that comes by it; the doorbell reconnects."""
        self._doorbell.close()

    def stop(self) -> None:
        """End the greenlets and close the subscription."""
        gevent.killall(self._greenlets)
        self._doorbell.close()

    def attach(self, job: Job, after: int, *, follow: bool = True, patient: bool = False) -> Reader:
        """Create a reader of the job's log after the id ``after``.

        The log is followed from the ``last_entry`` of ``job``, which was looked up before, so that no entry is missed.
        Without ``follow`` the reader gets the entries up to then and does not wait. A ``patient`` reader stays to the
        end of a drain, because its client cannot easily continue on another instance.
        """
        if follow and not job.ended:
            feed = self._feed_of(job)
        else:
            feed = Feed(job.id, job.last_entry, ended=job.ended, is_packed=job.is_packed)
        reader = Reader(self, self._pages, feed, after, patient=patient)
        reader.leave_at = self._leave_by(reader)
        reader.feed.readers.add(reader)
        self.readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Detach the reader. Its feed lingers, in case the reader comes back."""
        self.readers.discard(reader)
        reader.feed.readers.discard(reader)
        reader.feed.left_at = time.monotonic()

    def read_again(self, feed: Feed, after: int) -> list[Row] | None:
        """Read the entries after ``after`` again, where a reader found none.

        Returns None if Redis has lost the end of this log. That is no gap, because the worker resends it; the feed then
        continues from the last stored entry. Raises ``StoreUnavailable``, also if the feed is no longer followed and
        would miss the resent entries.
        """
        commands = [("HGET", job_key(feed.job_id), "last"), range_command(feed.job_id, after, page_of(feed.job_id))]
        last, reply = self._link.pipeline_each(commands)
        if isinstance(last, Exception):
            raise translated(last) from last
        if _number(last) is None or int(last) >= feed.base:
            rows = self._logs.rows_of(reply, feed.job_id, after, page_of(feed.job_id))
            return None if not rows and after >= feed.base else rows
        if self._feeds.get(log_key(feed.job_id).encode()) is not feed:
            raise StoreUnavailable("Redis lost the end of this log; its worker resends it")
        self._rewind(feed, int(last))
        return None

    def queued_feeds(self) -> list[Feed]:
        """The feeds with readers whose jobs are queued."""
        for feed in [feed for feed in self._queued if not feed.is_queued or feed.gone]:
            self._queued.discard(feed)
            feed.wait = None
        return [feed for feed in self._queued if feed.readers]

    def _note_queued(self, feed: Feed, is_queued: bool) -> None:
        if is_queued:
            feed.queued_at = feed.last
            self._queued.add(feed)

    def drain(self, spread_s: float) -> None:
        """Ask every reader to leave, spread over ``spread_s`` so that they do not all reconnect at once."""
        self._drain = Deadline.after(spread_s)
        for reader in self.readers:
            reader.leave_at = min(reader.leave_at, self._leave_by(reader))

    def show_notice(self, text: str | None) -> None:
        """Show every reader the notice, or that there is none any more. Yields now and then."""
        if text == self.notice:
            return
        self.notice = text
        for at, reader in enumerate(tuple(self.readers), 1):
            reader.wake()
            if at % _WOKEN_AT_ONCE == 0:
                gevent.sleep(0)

    def resume(self) -> None:
        """End a drain: readers that have not left stay, unless they are expelled."""
        self._drain = None
        for reader in self.readers:
            if not reader.is_expelled:
                reader.leave_at = float("inf")

    def _leave_by(self, reader: Reader) -> float:
        """When a reader should leave: never, or at a random time within the drain."""
        if self._drain is None:
            return float("inf")
        left_s = self._drain.left_s
        return time.monotonic() + (left_s if reader.patient else random.random() * left_s)

    def _feed_of(self, job: Job) -> Feed:
        channel = log_key(job.id).encode()
        before = self._feeds.get(channel)
        if before is not None and not before.ended and not before.gone:
            return before
        # If this process has seen an end that the record lacks, Redis may have lost that end. And a job that was
        # looked up exists again.
        feed = self._feeds[channel] = Feed(job.id, job.last_entry, model=job.model)
        self._note_queued(feed, job.status is Status.QUEUED)
        feed.watched = job.on_disconnect is OnDisconnect.CANCEL
        feed.heard_at = time.monotonic()
        if before is not None:
            self._seen.note(job.id, before.last)
            # Readers that did not take the old end yet must get the new one.
            self._stale.pop(before, None)
            self._queued.discard(before)
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
            # Not read since the subscription, marked gone too early, or ids are missing: read the stream.
            self._mark_stale(feed)

    def _wake_rung(self) -> None:
        """Wake each reader once per batch of messages, so that it gets the entries in one piece."""
        rung, self._rung_feeds = self._rung_feeds, {}
        woken = 0
        for feed in rung:
            feed.wake()
            woken += len(feed.readers)
            if woken >= _WOKEN_AT_ONCE:
                # Yield, so that others do not wait until thousands of readers have been sent a token.
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
            # The status first: if the job had ended then, the entries read after it include the terminal entry.
            commands.append(("HMGET", job_key(feed.job_id), "status", "last"))
            commands.append(range_command(feed.job_id, feed.last, page_of(feed.job_id)))
        replies = self._link.pipeline_each(commands)
        for feed, last, record, rows in zip(feeds, known, replies[::2], replies[1::2], strict=True):
            status, raw_last = _value(record, feed) or (None, None)
            now_last = _number(raw_last)
            if now_last is not None and now_last < last:
                self._rewind(feed, now_last)
            entries = self._rows(rows, feed, last)
            most = page_of(feed.job_id)
            is_full = len(entries) == most or (not isinstance(rows, Exception) and len(rows) == most)
            self._refilled(feed, status, entries, is_full=is_full)

    def _rows(self, reply: Any, feed: Feed, after: int) -> list[Row]:
        """The entries in the reply of a log's stream, or of its packed form; none if it is neither."""
        if not is_wrong_type(reply):
            return self._logs.rows_of(reply, feed.job_id, after, page_of(feed.job_id))
        packed = self._logs.read_packed(feed.job_id, after, page_of(feed.job_id))
        return (_value(reply, feed) or []) if packed is None else packed

    def _rewind(self, feed: Feed, last: int) -> None:
        # Redis lost the last entries. The worker resends them under the same ids, or the log continues after a jump.
        # Readers that have them wait; others must not get a gap. Some of the resent entries may have rung already.
        self._seen.note(feed.job_id, feed.last)
        feed.jump(last)
        feed.ended = False
        self._mark_stale(feed)

    def _refilled(self, feed: Feed, status: bytes | None, rows: list[Row], *, is_full: bool) -> None:
        for entry_id, raw in rows:
            if not feed.add(entry_id, [raw]):
                feed.jump(entry_id - 1)
                feed.add(entry_id, [raw])
        self._note_queued(feed, status == b"queued")
        over = status is None or status.decode(errors="replace") in ENDED
        # The job is forgotten, or it ended and its terminal entry is unreadable: no more entries will come.
        feed.gone = over and not feed.ended and not rows
        if is_full:
            self._mark_stale(feed)
            return
        was_ready, feed.ready = feed.ready, True
        if rows or feed.gone or not was_ready:
            feed.wake()

    # Time.

    def _tick(self) -> None:
        """Run the one timer for all readers and feeds of the process."""
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
            self._event_leases.renew(now, self._feeds.values())

    def _check_feed(self, channel: bytes, feed: Feed, now: float) -> None:
        if not feed.readers and (feed.ended or now - feed.left_at > LINGER_S):
            del self._feeds[channel]
            self._seen.note(feed.job_id, feed.last)
            self._stale.pop(feed, None)
            self._queued.discard(feed)
            self._doorbell.ignore(channel)
        elif feed.is_heard:
            # A flag instead of a time, so that a token costs no clock call.
            feed.is_heard = False
            feed.heard_at = now
        elif now - feed.heard_at > RECHECK_S and not feed.ended:
            feed.heard_at = now
            self._mark_stale(feed)


def _number(raw: bytes | None) -> int | None:
    """An id from the record; None if it is missing or not a number."""
    return int(raw) if raw is not None and raw.isdigit() else None


def _value(reply: Any, feed: Feed) -> Any:
    """A usable reply; None if the key holds another type. Raises ``StoreUnavailable`` for all other errors, which are
    unrelated to this log: a replica without its primary, a long-running script."""
    if not isinstance(reply, Exception):
        return reply
    if not is_wrong_type(reply):
        raise StoreUnavailable(str(reply)) from reply
    log.error("cannot read the log of job %s: %s", feed.job_id, reply)
    return None
