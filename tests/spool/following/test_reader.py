"""A reader over a real log: replay and tail, gaps, and cursors that are ahead."""

from __future__ import annotations

import pytest

from spool.following.feed import Feed
from spool.following.reader import Reader
from spool.following.replay_cache import ReplayCache
from spool.jobs.entries import Entry, Kind
from spool.jobs.job import Job
from spool.jobs.log import PAGE, Gap, Logs, Row
from spool.keys import job as job_key
from spool.redis.link import RedisLink
from tests.by_hand import AT, OWNER, HandWorker, store_of, submit, tokens


class NoFollower:
    """What a reader needs of a follower when nothing is followed."""

    notice: str | None = None

    def leave(self, reader: Reader) -> None:
        """The reader reads no more."""
        reader.feed.readers.discard(reader)

    def read_again(self, feed: Feed, after: int) -> list[Row]:  # noqa: ARG002 - the follower's shape
        """Redis has lost nothing."""
        return []


class Lines:
    """A format with one entry a line."""

    def entry(self, entry_id: int, raw: bytes) -> bytes:  # noqa: ARG002 - the encoder's shape
        """The entry and a line feed."""
        return raw + b"\n"

    def piece(self, entries: bytes) -> bytes:
        """The lines as they are."""
        return entries


LINES = Lines()


def reader_of(link: RedisLink, job: Job, after: int, feed: Feed | None = None) -> Reader:
    """A reader of the log as the record says it is."""
    feed = feed or Feed(job.id, job.last_entry, ended=job.ended)
    feed.ready = True
    return Reader(NoFollower(), ReplayCache(Logs(link)), feed, after)  # type: ignore[arg-type]


def read_all(reader: Reader) -> list[int | Gap]:
    """Everything that there is to take now: ids, and gaps where they are."""
    seen: list[int | Gap] = []
    while True:
        rows, gap, ended = reader.take_rows(10_000)
        seen += [gap] if gap is not None else []
        seen += [entry_id for entry_id, _raw in rows]
        if ended or (not rows and gap is None):
            return seen


@pytest.fixture
def job(link: RedisLink) -> Job:
    """A job that has ended; its log holds ten entries."""
    submit(link)
    worker = HandWorker(link)
    claim = worker.take()
    worker.say(claim, *"abcdefgh")
    worker.finish(claim)
    return store_of(link).look(claim.job.id, OWNER)


def lose(link: RedisLink, job: Job, *ids: int) -> None:
    """Entries go missing."""
    link.call("XDEL", f"{job_key(job.id)}:log", *(f"{entry_id}-0" for entry_id in ids))


@pytest.mark.parametrize("after", range(11))
def test_replay_from_every_cursor(link: RedisLink, job: Job, after: int) -> None:
    """A reader gets exactly what follows its cursor, and the end."""
    assert read_all(reader_of(link, job, after)) == list(range(after + 1, 11))


def test_replay_of_a_long_log(link: RedisLink) -> None:
    """A log of many pages comes whole and in order."""
    submit(link)
    worker = HandWorker(link)
    claim = worker.take()
    count = 2 * PAGE + 7
    for start in range(0, count, PAGE):
        worker.say(claim, *["x"] * min(PAGE, count - start))
    last = worker.finish(claim)
    assert read_all(reader_of(link, store_of(link).look(claim.job.id, OWNER), 0)) == list(range(1, last + 1))


def test_replay_of_large_entries(link: RedisLink) -> None:
    """However large the entries are, what a reader holds at a time is bounded; it comes whole and in order."""
    submit(link)
    worker = HandWorker(link)
    claim = worker.take()
    for size in (100, 50_000, 300_000, 100):
        worker.say(claim, *["x" * size] * 20)
    last = worker.finish(claim)
    reader = reader_of(link, store_of(link).look(claim.job.id, OWNER), 0)
    pieces: list[list[int]] = []
    while not pieces or pieces[-1][-1] < last:
        taken = reader.take(LINES)
        assert taken is not None
        rows = taken.data.split(b"\n")[:-1]
        assert len(taken.data) < 300_000 or len(rows) == 1
        pieces.append([Entry.decode(raw).id for raw in rows])
    assert [entry_id for piece in pieces for entry_id in piece] == list(range(1, last + 1))
    assert len(pieces) < 50


def test_replay_meets_the_tail(link: RedisLink) -> None:
    """Between what is read from the stream and what this process has seen nothing is twice and nothing missing."""
    submit(link)
    worker = HandWorker(link)
    claim = worker.take()
    worker.say(claim, *"abc")
    seen = store_of(link).look(claim.job.id, OWNER)
    feed = Feed(seen.id, seen.last_entry)
    reader = reader_of(link, seen, 0, feed)
    entries = tokens(5, *"defg")
    worker.append(claim, 5, entries, text="defg")
    feed.add(5, entries)
    assert read_all(reader) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert reader.take(LINES) is None


def test_limit_of_rows(link: RedisLink, job: Job) -> None:
    """What a limit cuts off comes next."""
    reader = reader_of(link, job, 0)
    taken = [reader.take_rows(4) for _ in range(3)]
    assert [[entry_id for entry_id, _ in rows] for rows, _, _ in taken] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert [ended for _, _, ended in taken] == [False, False, True]


def test_gap_at_the_beginning(link: RedisLink, job: Job) -> None:
    """Missing entries are named before what is left."""
    lose(link, job, 1, 2, 3)
    assert read_all(reader_of(link, job, 0)) == [Gap(1, 4, 10, 3), 4, 5, 6, 7, 8, 9, 10]
    assert read_all(reader_of(link, job, 2)) == [Gap(3, 4, 10, 3), 4, 5, 6, 7, 8, 9, 10]
    assert read_all(reader_of(link, job, 3)) == [4, 5, 6, 7, 8, 9, 10]


def test_gaps_in_the_middle(link: RedisLink, job: Job) -> None:
    """Every hole is named where it is."""
    lose(link, job, 3, 6, 7)
    assert read_all(reader_of(link, job, 0)) == [1, 2, Gap(3, 4, 10, 3), 4, 5, Gap(6, 8, 10, 7), 8, 9, 10]


def test_gap_at_the_end(link: RedisLink, job: Job) -> None:
    """Where the end of an ended log is missing, the reader is sent to it and stops."""
    lose(link, job, 9, 10)
    assert read_all(reader_of(link, job, 7)) == [8, Gap(9, None, None, 10)]


def test_gap_of_everything(link: RedisLink, job: Job) -> None:
    """Where nothing is left, that is said once."""
    link.call("DEL", f"{job_key(job.id)}:log")
    assert read_all(reader_of(link, job, 0)) == [Gap(1, None, None, 10)]
    assert read_all(reader_of(link, job, 10)) == []


def test_gap_up_to_the_tail(link: RedisLink) -> None:
    """Where the stream is gone and this process has seen its end, the reader goes on with that."""
    submit(link)
    worker = HandWorker(link)
    claim = worker.take()
    worker.say(claim, "a")
    seen = store_of(link).look(claim.job.id, OWNER)
    feed = Feed(seen.id, seen.last_entry)
    feed.add(3, tokens(3, "b", "c"))
    link.call("DEL", f"{job_key(seen.id)}:log")
    assert read_all(reader_of(link, seen, 0, feed)) == [Gap(1, 3, 4, 2), 3, 4]


def test_jump_to_a_restart_is_no_gap(link: RedisLink) -> None:
    """Where the log says itself that it lost history, that is no gap."""
    job = submit(link)
    key = f"{job_key(job.id)}:log"
    for entry_id, kind in [(1, Kind.STARTED), (2, Kind.TOKEN), (1000, Kind.RESTARTED), (1001, Kind.TOKEN)]:
        link.call("XADD", key, f"{entry_id}-0", "entry", Entry(entry_id, kind, AT, {"text": "x"}).encode())
    link.call("HSET", job_key(job.id), "last", 1001)
    seen = store_of(link).look(job.id, OWNER)
    assert read_all(reader_of(link, seen, 0)) == [1, 2, 1000, 1001]
    assert read_all(reader_of(link, seen, 5)) == [1000, 1001]


def test_ahead_of_a_running_log(link: RedisLink) -> None:
    """A reader that is ahead of a running log waits."""
    submit(link)
    claim = HandWorker(link).take()
    reader = reader_of(link, claim.job, 50)
    assert reader.take(LINES) is None
    reader.feed.add(2, tokens(2, *"x" * 48))
    assert reader.take(LINES) is None
    reader.feed.add(50, tokens(50, "a", "b"))
    assert read_all(reader) == [51]


def test_ahead_of_an_ended_log(link: RedisLink, job: Job) -> None:
    """A reader that is ahead of an ended log is told so, and gets the end."""
    assert read_all(reader_of(link, job, 50)) == [Gap(51, 10, 10, 9), 10]


def test_job_that_is_gone(link: RedisLink) -> None:
    """A reader of a job that Redis lost is told that nothing is left."""
    submit(link)
    claim = HandWorker(link).take()
    reader = reader_of(link, claim.job, 1)
    reader.feed.gone = True
    assert read_all(reader) == [Gap(2, None, None, 1)]


def test_leaving_is_told_to_the_feed(link: RedisLink, job: Job) -> None:
    """A reader that leaves its ``with`` is no longer among the feed's readers."""
    reader = reader_of(link, job, 0)
    reader.feed.readers.add(reader)
    with reader:
        pass
    assert reader.feed.readers == set()
