"""The bytes of a stream on one kind of connection: a format, and the framing of its pieces.

A shared format makes the same bytes of an entry for all its streams, so the feed keeps them. A format per reader
translates the entries for one stream, and may depend on all entries before.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from spool.errors import UndecodableRecord
from spool.following.encoder import Encoder
from spool.following.reader import Reader
from spool.jobs.log import Gap, Row
from spool.jobs.waits import Wait
from web.checkpoints import Frame
from web.folds import Folds
from web.time_slices import in_slices

_ROWS = 500
_LIVE_ROWS = 50
"""More are translated in a greenlet, because the follower's serves all readers."""


class Trouble(enum.Enum):
    """The reasons why a stream cannot continue: the code, the title and the message."""

    DRAINING = "server_draining", "Draining", "this instance is draining"
    UNAVAILABLE = "store_unavailable", "Store unavailable", "Redis is unreachable or does not answer"
    NOT_AUTHENTICATED = "not_authenticated", "Not authenticated", "the credential was revoked or has expired"
    ENTRIES_MISSING = "entries_missing", "Entries missing", "entries of this answer are missing"

    def __init__(self, code: str, title: str, message: str) -> None:
        self.code = code
        self.title = title
        self.message = message


class End(enum.Enum):
    """How a stream ends."""

    WHOLE = enum.auto()
    """Its body is complete."""
    CUT = enum.auto()
    """Its body is incomplete, and the connection closes within it, which every client notices."""


class Piece(NamedTuple):
    """Framed bytes to send, possibly none, and the stream's ``end`` after them."""

    data: bytes = b""
    end: End | None = None


class Cut(Exception):
    """The stream cannot continue in its format; ``data`` is its last part."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__()
        self.data = data


class Encoding(Protocol):
    """The bytes of a stream, as ``LiveStream`` asks for them."""

    @property
    def over(self) -> bool:
        """Whether the stream has ended by itself and takes no more entries."""
        ...

    def live(self, reader: Reader) -> bytes | None:
        """The bytes of the entries in memory; may be empty. Never blocks. None: use ``take``."""
        ...

    def take(self, reader: Reader, within_s: float) -> Piece | None:
        """The next piece; None if there are no entries. May wait for Redis, and ``within_s`` for a turn to translate
        old entries. Raises ``StoreUnavailable``, ``UndecodableRecord``."""
        ...

    def heartbeat(self, reader: Reader) -> bytes:
        """The bytes sent after a silence; may be empty."""
        ...

    def queued(self, wait: Wait) -> bytes:
        """The bytes that tell what a queued job waits for; may be empty."""
        ...

    def notice(self, text: str | None) -> bytes:
        """The bytes of the operator's notice; None: there is none any more. May be empty."""
        ...

    def broken(self, trouble: Trouble) -> Piece:
        """The last piece of a stream that cannot continue."""
        ...


class SharedFormat(Protocol):
    """A format without state: one object serves all streams of a process."""

    def entry(self, entry_id: int, raw: bytes) -> bytes: ...
    def gap(self, gap: Gap) -> bytes: ...
    def end(self, last: int, *, is_gone: bool) -> bytes: ...
    def heartbeat(self, last: int) -> bytes: ...
    def queued(self, wait: Wait) -> bytes: ...
    def notice(self, text: str | None) -> bytes: ...
    def reconnect(self) -> bytes: ...
    def unavailable(self, reason: str, detail: str) -> bytes: ...


class Shared(Encoder):
    """A shared format on one kind of connection. There is one object for each such pair, so that pieces are encoded
    once for all its streams."""

    over = False

    def __init__(self, form: SharedFormat, frame: Frame) -> None:
        self._form = form
        self._frame = frame

    def entry(self, entry_id: int, raw: bytes) -> bytes:
        """One entry, unframed."""
        return self._form.entry(entry_id, raw)

    def piece(self, entries: bytes) -> bytes:
        """One frame around all of them."""
        return self._frame(entries)

    def live(self, reader: Reader) -> bytes | None:
        """The entries in memory, unless they end the log."""
        return None if reader.feed.ended else reader.take_live(self)

    def take(self, reader: Reader, within_s: float) -> Piece | None:  # noqa: ARG002 - nothing is translated
        """The next entries. A gap is an event among them."""
        batch = reader.take(self)
        if batch is None:
            return None
        data = batch.data
        if batch.gap is not None:
            data = self._frame(self._form.gap(batch.gap)) + data
        if not batch.ended:
            return Piece(data)
        return Piece(data + self._frame(self._form.end(batch.last, is_gone=batch.gone)), End.WHOLE)

    def heartbeat(self, reader: Reader) -> bytes:
        """The format's heartbeat, with the reader's cursor."""
        return self._frame(self._form.heartbeat(reader.cursor))

    def queued(self, wait: Wait) -> bytes:
        """The format's message, which is no entry."""
        return self._frame(self._form.queued(wait))

    def notice(self, text: str | None) -> bytes:
        """The format's message, which is no entry."""
        return self._frame(self._form.notice(text))

    def broken(self, trouble: Trouble) -> Piece:
        """An event after which clients reconnect."""
        if trouble is Trouble.DRAINING:
            return Piece(self._frame(self._form.reconnect()), End.WHOLE)
        return Piece(self._frame(self._form.unavailable(trouble.title, trouble.message)), End.WHOLE)


class Selected(Shared):
    """A shared format of which one stream gets only some entries. The feed keeps no bytes of it."""

    def __init__(self, form: SharedFormat, frame: Frame, is_wanted: Callable[[bytes], bool]) -> None:
        super().__init__(form, frame)
        self._is_wanted = is_wanted

    def live(self, reader: Reader) -> bytes | None:
        """The wanted ones of a few entries in memory, unless they end the log."""
        if reader.feed.ended or (rows := reader.live_rows(_LIVE_ROWS)) is None:
            return None
        reader.cursor = rows[-1][0]
        return self._of(rows)

    def take(self, reader: Reader, within_s: float) -> Piece | None:  # noqa: ARG002 - nothing is translated
        """The wanted ones of the next entries."""
        rows, gap, ended = reader.take_rows(_ROWS)
        if not rows and gap is None and not ended:
            return None
        # In a greenlet, and of a long log each entry may have to be decoded.
        data = self._of(in_slices(rows))
        if gap is not None:
            data = self._frame(self._form.gap(gap)) + data
        if not ended:
            return Piece(data)
        is_gone = gap is not None and gap.earliest is None
        return Piece(data + self._frame(self._form.end(reader.cursor, is_gone=is_gone)), End.WHOLE)

    def _of(self, rows: Iterable[Row]) -> bytes:
        wanted = [self._form.entry(entry_id, raw) for entry_id, raw in rows if self._is_wanted(raw)]
        return self._frame(b"".join(wanted))


class ReaderFormat(Protocol):
    """One stream of another protocol, or of bare text."""

    @property
    def over(self) -> bool:
        """Whether the stream has ended by itself and takes no more entries."""
        ...

    def entries(self, rows: list[Row]) -> bytes:
        """The bytes for these entries; may be empty. Raises ``UndecodableRecord``, and ``Cut`` if the stream cannot
        continue; neither may have changed the format."""
        ...

    def replay(self, reader: Reader, frame: Frame) -> bytes | None:
        """The framed bytes of the next pages that are known, which moves the reader past them; empty if none of them is
        sent. None: nothing was read, and the page must go through ``entries``. Called in a turn of ``Folds``."""
        ...

    def heartbeat(self) -> bytes:
        """The bytes sent after a silence; may be empty."""
        ...

    def queued(self, wait: Wait) -> bytes:
        """The bytes that tell what a queued job waits for; may be empty."""
        ...

    def broken_off(self, code: str, message: str) -> bytes | None:
        """The last bytes of a stream that cannot continue: this process drains, Redis fails, or entries are missing.
        None cuts the connection."""
        ...


class PerReader:
    """A format per reader on one kind of connection. Old entries are translated in turns."""

    __slots__ = ("_folds", "_form", "_frame")

    def __init__(self, form: ReaderFormat, frame: Frame, folds: Folds) -> None:
        self._form = form
        self._frame = frame
        self._folds = folds

    @property
    def over(self) -> bool:
        """Whether the stream has ended by itself."""
        return self._form.over

    def live(self, reader: Reader) -> bytes | None:
        """The translation of a few entries in memory, unless they end the log or the stream."""
        if reader.feed.ended or (rows := reader.live_rows(_LIVE_ROWS)) is None:
            return None
        try:
            data = self._form.entries(rows)
        except (Cut, UndecodableRecord):
            # ``take`` gets the same entries.
            return None
        reader.cursor = rows[-1][0]
        return self._frame(data)

    def take(self, reader: Reader, within_s: float) -> Piece | None:
        """The translation of the next page; of old entries, in turn. An empty piece: no turn was free, or there was
        nothing to send."""
        if self._form.over:
            return Piece(end=End.WHOLE)
        if not reader.is_behind:
            return self.page(reader)
        if not self._folds.enter(within_s):
            return Piece()
        try:
            while (data := self._form.replay(reader, self._frame)) is not None:
                if data or self._form.over or self._folds.is_spent:
                    return Piece(data, End.WHOLE if self._form.over else None)
            return self.page(reader)
        finally:
            self._folds.leave()

    def heartbeat(self, reader: Reader) -> bytes:  # noqa: ARG002 - the protocol's shape
        """The format's heartbeat."""
        return self._frame(self._form.heartbeat())

    def queued(self, wait: Wait) -> bytes:
        """The format's message."""
        return self._frame(self._form.queued(wait))

    def notice(self, text: str | None) -> bytes:  # noqa: ARG002 - the protocol's shape
        """Empty: the protocols of others have no word for it."""
        return b""

    def broken(self, trouble: Trouble) -> Piece:
        """The format's last bytes; a cut if it has none."""
        data = self._form.broken_off(trouble.code, trouble.message)
        return Piece(end=End.CUT) if data is None else Piece(self._frame(data), End.WHOLE)

    def page(self, reader: Reader) -> Piece | None:
        """The translation of the next entries; None if there are none. A kind of connection may have its own end."""
        rows, gap, ended = reader.take_rows(_ROWS)
        if gap is not None:
            return self.broken(Trouble.ENTRIES_MISSING)
        try:
            data = self._frame(self._form.entries(rows)) if rows else b""
        except Cut as cut:
            return Piece(self._frame(cut.data), End.CUT)
        if self._form.over:
            return Piece(data, End.WHOLE)
        if ended:
            return self.broken(Trouble.ENTRIES_MISSING)
        return Piece(data) if rows else None


def bare(data: bytes) -> bytes:
    """No framing: HTTP/1.0, and formats that frame each entry themselves."""
    return data


def chunk(data: bytes) -> bytes:
    """An HTTP/1.1 chunk (RFC 9112 section 7.1); nothing for no bytes, because an empty chunk would end the body."""
    return b"%X\r\n%b\r\n" % (len(data), data) if data else b""
