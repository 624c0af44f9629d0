"""The bytes of a stream: what a format's pieces become on a connection, and how a stream ends."""

from __future__ import annotations

from typing import Any

import pytest

from spool.following.reader import Reader
from spool.jobs.entries import Kind
from spool.jobs.log import Gap, Row
from tests.web.logs import Followed, Logs, job_of
from web.checkpoints import Frame
from web.delivery.encoding import Cut, End, PerReader, Piece, Shared, Trouble, chunk
from web.folds import Folds

SAID = [(Kind.STARTED, {"attempt": 1, "model": "demo"}), (Kind.TOKEN, {"text": "a"}), (Kind.TOKEN, {"text": "b"})]
ENDED = [*SAID, (Kind.DONE, {"finish_reason": "stop"})]


def framed(data: bytes) -> bytes:
    """A frame that shows where it begins and ends."""
    return b"[%b]" % data if data else b""


class Marks:
    """A shared format with one word for everything."""

    def entry(self, entry_id: int, raw: bytes) -> bytes:  # noqa: ARG002 - the format's shape
        return b"%d " % entry_id

    def gap(self, gap: Gap) -> bytes:
        return b"gap from %d" % gap.requested

    def end(self, last: int, *, is_gone: bool) -> bytes:
        return b"%b after %d" % (b"gone" if is_gone else b"end", last)

    def heartbeat(self, last: int) -> bytes:
        return b"heartbeat at %d" % last

    def reconnect(self) -> bytes:
        return b"reconnect"

    def unavailable(self, reason: str, detail: str) -> bytes:  # noqa: ARG002 - the format's shape
        return reason.encode()


class Ids:
    """A format per reader: the ids of its entries. ``last_words`` end a stream that cannot continue."""

    def __init__(self, last_words: bytes | None = b"broken", cut_at: int | None = None) -> None:
        self.over = False
        self.replayed: list[bytes] = []
        self._last_words = last_words
        self._cut_at = cut_at

    def entries(self, rows: list[Row]) -> bytes:
        ids = [entry_id for entry_id, _raw in rows]
        if self._cut_at in ids:
            raise Cut(b"cut")
        self.over = rows[-1][0] == len(ENDED)
        return b"%b" % ids.__repr__().encode()

    def replay(self, reader: Reader, frame: Frame) -> bytes | None:
        if not self.replayed:
            return None
        reader.cursor += 1
        return frame(self.replayed.pop(0))

    def heartbeat(self) -> bytes:
        return b"heartbeat"

    def broken_off(self, code: str, message: str) -> bytes | None:  # noqa: ARG002 - the format's shape
        return self._last_words and self._last_words + b" " + code.encode()


def reader_of(said: list[tuple[Kind, dict[str, Any]]], *, after: int = 0, live: int = 0, first: int = 1) -> Reader:
    """A reader of this log. The last ``live`` entries are in memory; the others are read from Redis."""
    logs = Logs(said, range(first, first + len(said)))
    reader = Followed(logs, live=live).attach(job_of(logs), after)
    reader.feed.ready = True
    return reader


def per_reader(form: Ids) -> PerReader:
    """This format, framed visibly."""
    return PerReader(form, framed, Folds(None, clock=lambda: 0.0))  # type: ignore[arg-type]


def test_chunk() -> None:
    """A chunk has its length in hexadecimal digits; no bytes are no chunk, which would end the body."""
    assert chunk(b"x" * 26) == b"1A\r\n" + b"x" * 26 + b"\r\n"
    assert chunk(b"") == b""


# Shared formats


def test_entries_in_memory_are_one_frame() -> None:
    """Entries in memory are sent without a read, in one frame, and the cursor moves past them."""
    reader = reader_of(SAID, live=3)
    assert (Shared(Marks(), framed).live(reader), reader.cursor) == (b"[1 2 3 ]", 3)


def test_entries_are_encoded_once_for_all_streams() -> None:
    """Readers of one log at the same place get the same object."""
    encoding, one = Shared(Marks(), framed), reader_of(SAID, live=3)
    other = Reader(one._follower, one._pages, one.feed, 0)
    assert encoding.live(one) is encoding.live(other)


def test_end_of_the_log_is_left_to_take() -> None:
    """Entries that end the log need a closing event, which ``live`` does not send."""
    reader, encoding = reader_of(ENDED, live=4), Shared(Marks(), framed)
    assert (encoding.live(reader), reader.cursor) == (None, 0)
    assert encoding.take(reader, 0) == Piece(b"[1 2 3 4 ][end after 4]", End.WHOLE)


def test_old_entries_are_read() -> None:
    """Entries before those in memory come from the log, and the stream goes on."""
    assert Shared(Marks(), framed).take(reader_of(SAID, live=1), 0) == Piece(b"[1 2 3 ]")
    assert Shared(Marks(), framed).take(reader_of(SAID, after=3, live=1), 0) is None


def test_gap_is_an_event_before_the_entries() -> None:
    """Missing entries are announced in a frame of its own, and the rest follows."""
    piece = Shared(Marks(), framed).take(reader_of(SAID, first=5, live=1), 0)
    assert piece == Piece(b"[gap from 1][5 6 7 ]")


def test_log_that_is_gone_ends_the_stream() -> None:
    """A job that was deleted under its reader ends the stream, with what is missing."""
    reader = reader_of(SAID, after=3)
    reader.feed.gone = True
    assert Shared(Marks(), framed).take(reader, 0) == Piece(b"[gap from 4][gone after 3]", End.WHOLE)


@pytest.mark.parametrize(
    ("trouble", "event"),
    [
        (Trouble.DRAINING, b"[reconnect]"),
        (Trouble.UNAVAILABLE, b"[Store unavailable]"),
        (Trouble.ENTRIES_MISSING, b"[Entries missing]"),
    ],
    ids=["draining", "unavailable", "missing"],
)
def test_shared_stream_that_cannot_continue(trouble: Trouble, event: bytes) -> None:
    """Its body is complete: an event tells the client to reconnect, or why it cannot."""
    assert Shared(Marks(), framed).broken(trouble) == Piece(event, End.WHOLE)


def test_shared_heartbeat_has_the_cursor() -> None:
    """A heartbeat says how far its reader is."""
    assert Shared(Marks(), framed).heartbeat(reader_of(SAID, after=2)) == b"[heartbeat at 2]"


# Formats per reader


def test_few_entries_in_memory_are_translated_at_once() -> None:
    """A few live entries are translated where they arrive; many are left to a greenlet of the stream's own."""
    tokens = [(Kind.TOKEN, {"text": "x"})] * 51
    few, many = reader_of(tokens[:50], live=50), reader_of(tokens, live=51)
    assert (per_reader(Ids()).live(few) is None, few.cursor) == (False, 50)
    assert (per_reader(Ids()).live(many), many.cursor) == (None, 0)


def test_entry_that_cuts_the_stream_is_taken_once() -> None:
    """A cut that ``live`` meets leaves the cursor, so that ``take`` gets the same entries and ends the stream there."""
    reader, encoding = reader_of(SAID, live=3), per_reader(Ids(cut_at=2))
    assert (encoding.live(reader), reader.cursor) == (None, 0)
    assert encoding.take(reader, 0) == Piece(b"[cut]", End.CUT)


def test_last_entry_of_the_format_completes_the_body() -> None:
    """A format that has its end completes the body, and reads nothing after it."""
    reader, encoding = reader_of(ENDED), per_reader(Ids())
    assert encoding.take(reader, 0) == Piece(b"[[1, 2, 3, 4]]", End.WHOLE)
    assert (encoding.over, encoding.take(reader, 0)) == (True, Piece(end=End.WHOLE))


def test_old_entries_without_a_turn() -> None:
    """Old entries are translated in turns; while none is free, nothing is read and nothing is sent."""
    folds = Folds(None)  # type: ignore[arg-type]
    assert folds.enter(0)
    reader = reader_of(SAID, live=1)
    assert PerReader(Ids(), framed, folds).take(reader, 0) == Piece()
    assert reader.cursor == 0
    folds.leave()
    assert PerReader(Ids(), framed, folds).take(reader, 0) == Piece(b"[[1, 2, 3]]")
    assert folds.enter(0), "the turn is given back"


def test_known_pages_are_replayed_before_others_are_read() -> None:
    """Pages that the format knows are sent without a read; pages without bytes are passed over in the same turn."""
    form = Ids()
    form.replayed = [b"", b"known"]
    reader = reader_of(SAID, live=1)
    assert per_reader(form).take(reader, 0) == Piece(b"[known]")
    assert reader.cursor == 2
    assert per_reader(form).take(reader, 0) == Piece(b"[[3]]")


@pytest.mark.parametrize(
    ("last_words", "piece"),
    [(b"broken", Piece(b"[broken entries_missing]", End.WHOLE)), (None, Piece(end=End.CUT))],
    ids=["with last bytes", "without"],
)
def test_missing_entries_break_the_stream(last_words: bytes | None, piece: Piece) -> None:
    """A translation needs all entries: a gap ends it with the format's last bytes, or with a cut."""
    assert per_reader(Ids(last_words)).take(reader_of(SAID, first=5, live=1), 0) == piece


def test_log_that_ends_before_its_format() -> None:
    """A log that is over while the format still expects entries has lost some."""
    reader = reader_of(SAID, after=3)
    reader.feed.ended = True
    assert per_reader(Ids()).take(reader, 0) == Piece(b"[broken entries_missing]", End.WHOLE)
