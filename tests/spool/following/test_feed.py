"""A feed: what a process has seen of a log's end, and the bytes made of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spool.following.feed import TAIL_BYTES, Feed, bound_tails
from tests.by_hand import done, tokens


class Counting:
    """A format that says how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def entry(self, entry_id: int, raw: bytes) -> bytes:
        """The id and a comma."""
        assert f'"id":{entry_id},'.encode() in raw
        self.asked.append(entry_id)
        return b"%d," % entry_id

    def piece(self, entries: bytes) -> bytes:
        """The entries as they are."""
        return entries


class FixedReader:
    """What a feed needs to know of a reader."""

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self.woken = 0

    def wake(self) -> None:
        """Something changed."""
        self.woken += 1


def ids(data: bytes) -> list[int]:
    """The ids in bytes that ``Counting`` made."""
    return [int(part) for part in data.split(b",")[:-1]]


def test_add_what_follows() -> None:
    """Entries that follow are taken."""
    feed = Feed("j", 5)
    assert feed.add(6, tokens(6, "a", "b"))
    assert feed.add(8, tokens(8, "c"))
    assert (feed.base, feed.last, len(feed.tail)) == (5, 8, 3)


def test_add_what_was_seen() -> None:
    """Entries that were seen before are dropped, and what is new among them is taken."""
    feed = Feed("j", 5)
    feed.add(6, tokens(6, "a", "b"))
    assert feed.add(3, tokens(3, "x", "y", "z", "a"))
    assert feed.last == 7
    assert feed.add(6, tokens(6, "a", "b", "c"))
    assert feed.last == 8
    assert ids(feed.encoded(Counting(), 5)) == [6, 7, 8]


def test_add_behind_a_hole() -> None:
    """With entries missing, nothing is taken: the stream has to be read."""
    feed = Feed("j", 5)
    assert not feed.add(7, tokens(7, "b"))
    assert (feed.last, feed.tail) == (5, [])


def test_add_the_end() -> None:
    """A terminal entry ends the feed, also when it is the last of several."""
    feed = Feed("j", 5)
    feed.add(6, [*tokens(6, "a"), done(7)])
    assert feed.ended


def test_jump() -> None:
    """Behind a hole the feed begins anew, and so does what was encoded of it."""
    feed, form = Feed("j", 5), Counting()
    feed.add(6, tokens(6, "a", "b"))
    feed.encoded(form, 5)
    feed.jump(100)
    feed.add(101, tokens(101, "c"))
    assert (feed.base, feed.last) == (100, 101)
    assert ids(feed.encoded(form, 100)) == [101]


def test_encoded_once_per_format() -> None:
    """However many readers there are, an entry is encoded once for each format."""
    feed, one, other = Feed("j", 0), Counting(), Counting()
    feed.add(1, tokens(1, "a", "b"))
    for after in (0, 1, 0):
        feed.encoded(one, after)
    feed.add(3, tokens(3, "c"))
    assert ids(feed.encoded(one, 1)) == [2, 3]
    assert ids(feed.encoded(other, 2)) == [3]
    assert one.asked == other.asked == [1, 2, 3]


def test_tail_stays_short() -> None:
    """What every reader has is dropped, but for a little that a late reader may want."""
    feed = Feed("j", 0)
    feed.readers.add(FixedReader(10_000))  # type: ignore[arg-type]
    for entry_id in range(1, 2001):
        feed.add(entry_id, tokens(entry_id, "x"))
        assert len(feed.tail) <= 128
    assert feed.last == 2000
    assert len(feed.tail) >= 32


def test_tail_for_a_reader_that_is_behind() -> None:
    """A reader that is a little behind finds its entries here; one that is far behind holds up nobody."""
    feed = Feed("j", 0)
    feed.readers.add(FixedReader(0))  # type: ignore[arg-type]
    for entry_id in range(1, 501):
        feed.add(entry_id, tokens(entry_id, "x"))
    assert feed.base == 0
    for entry_id in range(501, 3001):
        feed.add(entry_id, tokens(entry_id, "x"))
    assert len(feed.tail) <= 1024


def test_tail_of_large_entries() -> None:
    """A tail has a bound of bytes, also for a reader that is behind; what is larger alone is not kept at all."""
    feed = Feed("j", 0)
    feed.readers.add(FixedReader(0))  # type: ignore[arg-type]
    for entry_id in range(1, 100):
        feed.add(entry_id, tokens(entry_id, "x" * 20_000))
        assert feed.size == sum(map(len, feed.tail)) <= TAIL_BYTES
    assert ids(feed.encoded(Counting(), 98)) == [99]
    feed.add(100, tokens(100, "x" * (TAIL_BYTES + 1)))
    assert (feed.base, feed.last, feed.size, feed.tail) == (100, 100, 0, [])
    feed.add(101, tokens(101, "y"))
    assert ids(feed.encoded(Counting(), 100)) == [101]


def test_tail_that_is_forgotten() -> None:
    """The feed continues behind it."""
    feed, form = Feed("j", 0), Counting()
    feed.add(1, tokens(1, "a", "b"))
    feed.encoded(form, 0)
    feed.forget_tail()
    assert (feed.base, feed.last, feed.size) == (2, 2, 0)
    assert feed.add(3, tokens(3, "c"))
    assert ids(feed.encoded(form, 2)) == [3]


def test_tails_of_many_feeds() -> None:
    """Together they have a bound of bytes; the largest are emptied, and no more of them than needed."""
    feeds = [Feed(f"j{n}", 0) for n in range(10)]
    for n, feed in enumerate(feeds):
        feed.add(1, tokens(1, "x" * 1000 * (n + 1)))
    total = sum(feed.size for feed in feeds)
    bound_tails(feeds, total)
    assert all(feed.size for feed in feeds)
    bound_tails(feeds, total - 11_000)
    assert [feed.size > 0 for feed in feeds] == [True] * 8 + [False] * 2
    assert all(feed.last == 1 for feed in feeds)


@given(
    steps=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 60), st.integers(0, 200)), max_size=40),
    used=st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_encoded_is_always_what_follows_the_cursor(steps: list[tuple[int, int, int]], used: list[bool]) -> None:
    """However entries overlap and the tail is cut, what is encoded is exactly what follows the cursor."""
    feed, form, reader = Feed("j", 0), Counting(), FixedReader(0)
    feed.readers.add(reader)  # type: ignore[arg-type]
    for (overlap, new, behind), encode in zip(steps, used, strict=False):
        first = max(1, feed.last + 1 - overlap)
        count = feed.last + 1 - first + new
        assert feed.add(first, tokens(first, *["x"] * count))
        reader.cursor = max(reader.cursor, feed.last - behind)
        if encode:
            after = max(feed.base, reader.cursor)
            if after < feed.last:
                assert ids(feed.encoded(form, after)) == list(range(after + 1, feed.last + 1))


def test_wake_reaches_every_reader() -> None:
    """News wakes all readers of the log."""
    feed, readers = Feed("j", 0), [FixedReader(0), FixedReader(5)]
    feed.readers.update(readers)  # type: ignore[arg-type]
    feed.wake()
    assert [reader.woken for reader in readers] == [1, 1]
