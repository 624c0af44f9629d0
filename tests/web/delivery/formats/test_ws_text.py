"""Bare text over a WebSocket: entries in, frames out, and how the text ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from spool.jobs.entries import Entry, Kind
from spool.jobs.log import Gap, Row
from tests.by_hand import AT, done, tokens
from web.delivery.encoding import End, Piece, Trouble
from web.delivery.formats.ws_text import TextMessages, TextSocket

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
RESTARTED = Entry(2, Kind.RESTARTED, AT, {"attempt": 2, "reason": "worker_lost"}).encode()
FAILED = Entry(3, Kind.FAILED, AT, {"code": "x", "message": "y"}).encode()


def read(data: bytes) -> tuple[list[str], tuple[int, str] | None]:
    """The texts in these bytes, as a client gets them, and the code and reason of the close."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    texts, closed = [], None
    for event in client.events():
        if isinstance(event, CloseConnection):
            closed = int(event.code), event.reason or ""
        else:
            assert isinstance(event, TextMessage)
            texts.append(event.data)
    return texts, closed


def rows(*entries: bytes) -> list[Row]:
    """Entries with ids."""
    return list(enumerate(entries, 1))


@given(st.lists(TEXT, max_size=10))
def test_tokens_are_read_back(texts: list[str]) -> None:
    """A token is its bare text; other entries send nothing, and the end closes the socket."""
    started = Entry(1, Kind.STARTED, AT, {"attempt": 1}).encode()
    thought = Entry(2, Kind.REASONING, AT, {"text": "hmm"}).encode()
    form = TextMessages(has_text=False)
    assert read(form.entries(rows(started, thought, *tokens(3, *texts)))) == (texts, None)
    assert not form.over
    assert read(form.entries(rows(done(9)))) == ([], (1000, ""))
    assert form.over


@pytest.mark.parametrize(
    ("has_text", "entries", "texts", "closed"),
    [
        (False, [RESTARTED, *tokens(3, "Right")], ["Right"], None),
        (True, [RESTARTED, *tokens(3, "Right")], [], (1011, "generation was interrupted and restarted")),
        (False, [*tokens(1, "Wrong"), RESTARTED], ["Wrong"], (1011, "generation was interrupted and restarted")),
        (True, [*tokens(1, "a"), FAILED], ["a"], (1000, "the job ended: failed")),
    ],
)
def test_text_that_cannot_continue(
    has_text: bool, entries: list[bytes], texts: list[str], closed: tuple[int, str] | None
) -> None:
    """A restart after sent text closes the socket, and an unsuccessful end is named."""
    form = TextMessages(has_text=has_text)
    assert read(form.entries(rows(*entries))) == (texts, closed)
    assert form.over == (closed is not None)


class Taken:
    """A reader with these rows, which are in memory."""

    is_behind = False

    def __init__(self, *entries: bytes, gap: Gap | None = None, ended: bool = False) -> None:
        self._result = rows(*entries), gap, ended

    def take_rows(self, _limit: int) -> tuple[list[Row], Gap | None, bool]:
        """All of them."""
        return self._result


@pytest.mark.parametrize(
    ("reader", "texts", "closed"),
    [
        (Taken(ended=True), [], (1000, "")),
        (Taken(*tokens(1, "a"), done(2), ended=True), ["a"], (1000, "")),
        (Taken(gap=Gap(3, 5, 9, 4)), [], (1011, "entries are missing")),
        (Taken(gap=Gap(3, None, None, 4), ended=True), [], (4410, "gone")),
    ],
)
def test_last_piece_closes_once(reader: Taken, texts: list[str], closed: tuple[int, str]) -> None:
    """However the text ends, its last piece has exactly one close frame, at its end."""
    piece = TextSocket(None, has_text=False).take(reader, 1.0)  # type: ignore[arg-type]
    assert piece is not None
    assert piece.end is End.WHOLE
    assert read(piece.data) == (texts, closed)


@pytest.mark.parametrize(("trouble", "code"), [(Trouble.DRAINING, 1001), (Trouble.UNAVAILABLE, 1013)])
def test_stream_that_breaks(trouble: Trouble, code: int) -> None:
    """A drain and a lost Redis have their codes, and nothing follows."""
    socket = TextSocket(None, has_text=True)  # type: ignore[arg-type]
    assert read(socket.broken(trouble).data)[1] == (code, read(socket.broken(trouble).data)[1][1])  # type: ignore[index]
    assert socket.take(Taken(*tokens(1, "late")), 1.0) == Piece(end=End.WHOLE)  # type: ignore[arg-type]
