"""A stream on a hijacked connection: when each piece is written, and that it releases everything, however it ends."""

from __future__ import annotations

import _socket
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent
import pytest

from spool.errors import StoreUnavailable, UndecodableRecord
from spool.following.feed import Feed
from spool.following.reader import Reader
from spool.following.replay_cache import ReplayCache
from spool.jobs.entries import Entry, Kind, is_terminal
from spool.jobs.log import Logs, Row
from spool.jobs.waits import Reason, Wait
from tests.by_hand import AT, done, tokens
from web.checkpoints import Frame
from web.delivery.encoding import Encoding, PerReader, ReaderFormat, Shared, bare, chunk
from web.delivery.formats.ndjson import FORMATS
from web.delivery.formats.text import Text
from web.delivery.live import LiveStream
from web.folds import Folds
from web.limits.unsent import Unsent
from web.server.hijacked import HijackedConnection

LINES = FORMATS["ping", False]
LAST = b"0\r\n\r\n"


class StandIn:
    """What a reader asks of its follower, without a Redis."""

    notice: str | None = None

    def __init__(self) -> None:
        self.asked = 0

    def read_again(self, feed: Feed, after: int) -> list[Row] | None:  # noqa: ARG002 - the follower's
        """Redis is away."""
        self.asked += 1
        raise StoreUnavailable("away")

    def leave(self, reader: Reader) -> None:
        """It reads no more."""


class NoLink:
    """A link to a Redis that is away."""

    def call(self, *_command: Any) -> Any:
        """Fails."""
        raise StoreUnavailable("away")

    pipeline_each = call


class Streaming:
    """A stream over a pair of sockets, and all that can be seen of it."""

    def __init__(
        self,
        form: ReaderFormat | None = None,
        *,
        chunked: bool = True,
        stall_s: float = 5.0,
        buffer: int | None = None,
    ) -> None:
        self.feed = Feed("j0-" + "0" * 26, 0)
        self.feed.ready = True
        self.reader = Reader(StandIn(), ReplayCache(Logs(NoLink())), self.feed, 0)  # type: ignore[arg-type]
        self.feed.readers.add(self.reader)
        self.released = 0
        self.given_back: list[_socket.socket] = []
        self.unsent = Unsent(1_000_000)
        self.folds = Folds(None)  # type: ignore[arg-type]
        frame = chunk if chunked else bare
        encoding: Encoding = Shared(LINES, frame) if form is None else PerReader(form, frame, self.folds)
        self.stream = LiveStream(self.reader, encoding, b"", self._release, heartbeat_s=1.0)
        ours, self.client = socket.socketpair()
        if buffer is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.client.settimeout(60)
        plain = _socket.socket(ours.family, ours.type, ours.proto, ours.detach())
        plain.setblocking(False)
        self.stream.begin(
            HijackedConnection(
                plain, chunked=chunked, give_back=self.given_back.append, stall_s=stall_s, unsent=self.unsent
            )
        )

    @property
    def is_watched(self) -> bool:
        """Whether the stream would notice that its client disconnects."""
        watch = self.stream._connection._watch
        return bool(watch._watcher.active)

    def _release(self) -> None:
        self.released += 1

    def say(self, *texts: str) -> bytes:
        """New entries; what they are in NDJSON."""
        entries = tokens(self.feed.last + 1, *texts)
        self.feed.add(self.feed.last + 1, entries)
        self.feed.wake()
        return b"".join(entry + b"\n" for entry in entries)

    def end(self) -> bytes:
        """The terminal entry, likewise."""
        entry = done(self.feed.last + 1)
        self.feed.add(self.feed.last + 1, [entry])
        self.feed.wake()
        return entry + b"\n"

    def close(self) -> None:
        """Gone."""
        self.stream.abandon()
        self.client.close()
        for sock in self.given_back:
            sock.close()


@pytest.fixture
def streaming() -> Iterator[Callable[..., Streaming]]:
    """Makes streams, which are gone afterwards."""
    made: list[Streaming] = []

    def make(form: ReaderFormat | None = None, **options: Any) -> Streaming:
        made.append(Streaming(form, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def until(condition: Callable[[], object]) -> None:
    """Let greenlets run until it is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        gevent.sleep(0.001)


def test_entries_are_sent_by_the_greenlet_that_brings_them(streaming: Callable[..., Streaming]) -> None:
    """New entries are on the wire when the wake-up returns, those of one wake-up as one chunk; nothing had to run."""
    one = streaming()
    for texts in (["a"], ["b", "c"]):
        sent = one.say(*texts)
        assert one.client.recv(1000) == chunk(sent)


def test_queued_job_is_told_by_the_greenlet_that_brings_it(streaming: Callable[..., Streaming]) -> None:
    """A wait is on the wire when the wake-up returns, once; after the job has begun nothing is told."""
    one = streaming()
    one.feed.queued_at = 0
    one.feed.wait = wait = Wait(3, None, Reason.TURN, {})
    one.feed.wake()
    one.feed.wake()
    sent = one.say("a")
    one.feed.wait = Wait(2, None, Reason.TURN, {})
    one.feed.wake()
    sent += one.say("b")
    assert one.client.recv(1000) == chunk(LINES.queued(wait)) + b"".join(map(chunk, sent.splitlines(keepends=True)))


def test_queued_job_in_bare_text(streaming: Callable[..., Streaming]) -> None:
    """A wait is not part of bare text."""
    one = streaming(Text(has_text=False))
    one.feed.queued_at = 0
    one.feed.wait = Wait(3, None, Reason.TURN, {})
    one.feed.wake()
    one.say("a")
    assert one.client.recv(1000) == chunk(b"a")


def test_old_clients_get_bare_bytes(streaming: Callable[..., Streaming]) -> None:
    """HTTP/1.0 knows no chunks: the end of the connection ends the body."""
    one = streaming(chunked=False)
    sent = one.say("a") + one.end()
    until(lambda: one.released)
    assert one.client.recv(1000) + one.client.recv(1000) == sent
    assert one.client.recv(1) == b""
    assert one.given_back == []


def test_end_gives_the_connection_back(streaming: Callable[..., Streaming]) -> None:
    """The terminal entry and the last chunk go together, and the connection may carry another request."""
    one = streaming()
    sent = one.end()
    until(lambda: one.given_back)
    assert one.client.recv(1000) == chunk(sent) + LAST
    assert one.released == 1


def test_slow_client_gets_everything_in_order(streaming: Callable[..., Streaming]) -> None:
    """What the socket does not take waits, and what comes meanwhile comes after it."""
    one = streaming(buffer=4096)
    sent = b"".join(one.say("x" * 3000, "y" * 3000) for _ in range(20)) + one.end()
    received = bytearray()
    one.client.settimeout(0)

    def read() -> bool:
        with suppress(BlockingIOError):
            received.extend(one.client.recv(5000))
        return received.endswith(LAST)

    until(read)
    body, rest = b"", bytes(received)
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert body == sent
    assert one.released == 1


def test_client_that_takes_nothing_is_reset(streaming: Callable[..., Streaming]) -> None:
    """It has its time for a piece, and no more."""
    one = streaming(buffer=4096, stall_s=0.05)
    for _ in range(40):
        one.say("x" * 3000)
    until(lambda: one.released)
    assert one.given_back == []
    one.say("nobody is there")
    assert one.released == 1


def test_client_that_leaves(streaming: Callable[..., Streaming]) -> None:
    """An idle stream ends when its client closes."""
    one = streaming()
    one.client.close()
    until(lambda: one.released)
    assert one.reader.on_wake is None


def test_client_that_asks_on(streaming: Callable[..., Streaming]) -> None:
    """A pipelined request waits for the end of this answer."""
    one = streaming()
    one.client.send(b"GET / HTTP/1.1\r\n\r\n")
    until(lambda: not one.is_watched)
    sent = one.say("a")
    assert one.client.recv(1000) == chunk(sent)
    one.end()
    until(lambda: one.given_back)
    assert one.given_back[0].recv(1000) == b"GET / HTTP/1.1\r\n\r\n"


def test_silence_is_broken_by_heartbeats(streaming: Callable[..., Streaming]) -> None:
    """Once their time has come, and not at every tick."""
    one = streaming()
    sent = one.say("a")
    one.reader.wake()
    one.reader.tick_at = time.monotonic()
    one.reader.wake()
    until(lambda: one.reader.tick_at > time.monotonic())
    assert one.client.recv(1000) == chunk(sent) + chunk(LINES.heartbeat(1))


def test_draining_server_says_so(streaming: Callable[..., Streaming]) -> None:
    """The stream ends whole, with the word that it goes on elsewhere."""
    one = streaming()
    one.reader.leave_at = time.monotonic()
    one.reader.wake()
    until(lambda: one.released)
    assert one.client.recv(1000) == chunk(LINES.reconnect()) + LAST


def test_redis_away_says_so(streaming: Callable[..., Streaming]) -> None:
    """A reader whose log cannot be read now is told, and its stream ends whole."""
    one = streaming()
    one.feed.jump(100)
    one.feed.wake()
    until(lambda: one.released)
    received = one.client.recv(1000)
    assert b"unavailable" in received
    assert received.endswith(LAST)


def test_bug_ends_this_stream_alone(streaming: Callable[..., Streaming], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks in a stream's greenlet, it lets go of what it holds and its client sees a broken body."""

    class Broken(Exception):
        pass

    def breaks(*_args: object) -> None:
        raise Broken

    one = streaming()
    monkeypatch.setattr(Reader, "take", breaks)
    one.end()
    until(lambda: one.released)
    assert one.client.recv(1000) == b""


def test_stream_that_is_reset_for_others(streaming: Callable[..., Streaming]) -> None:
    """What a stream's client does not take counts; where others need the memory, the stream ends and lets go of all."""
    one = streaming(buffer=4096)
    one.say("x" * 500_000)
    until(lambda: one.unsent.total > 400_000)
    one.unsent.begin(900_000, lambda: None)
    until(lambda: one.released == 1)
    assert one.unsent.total == 900_000


class Upper:
    """A format per reader: the entries in capitals."""

    name = "upper"

    def __init__(self) -> None:
        self.over = False
        self.last: bytes | None = b"BROKEN"

    def entries(self, rows: list[Row]) -> bytes:
        """The entries; the end of the log ends the stream, and so does a text ``stop``."""
        self.over = any(is_terminal(raw) or b'"stop"' in raw for _id, raw in rows)
        return b"".join([raw.upper() for _id, raw in rows if b'"nothing"' not in raw])

    def replay(self, reader: Reader, frame: Frame) -> None:
        """Nothing is shared."""

    def heartbeat(self) -> bytes:
        """A beat."""
        return b"BEAT"

    def broken_off(self, code: str, message: str) -> bytes | None:  # noqa: ARG002 - the protocol's shape
        """Whatever the test wants last."""
        return self.last


def upper(data: bytes) -> bytes:
    """The entries of these lines as ``Upper`` sends them."""
    return data.replace(b"\n", b"").upper()


def test_translated_entries_are_sent_by_the_greenlet_that_brings_them(streaming: Callable[..., Streaming]) -> None:
    """A format per reader needs no greenlet either; a translation without bytes sends nothing."""
    one = streaming(Upper())
    assert one.say("nothing") + (sent := one.say("a", "b"))
    assert one.client.recv(1000) == chunk(upper(sent))
    assert one.reader.cursor == 3


def test_translated_stream_ends_by_itself(streaming: Callable[..., Streaming]) -> None:
    """A format may end its stream before the log ends: the body is complete, and later entries are not sent."""
    one = streaming(Upper())
    sent = one.say("stop")
    one.say("later")
    until(lambda: one.given_back)
    assert one.client.recv(1000) == chunk(upper(sent)) + LAST
    assert one.released == 1


def test_many_translated_entries_leave_the_follower(streaming: Callable[..., Streaming]) -> None:
    """Many entries at once are translated in a greenlet of the stream, not in the one that serves all readers."""
    one = streaming(Upper())
    sent = one.say(*"x" * 200)
    assert one.reader.cursor == 0
    sent += one.end()
    until(lambda: one.given_back)
    received = b""
    while not received.endswith(LAST):
        received += one.client.recv(1_000_000)
    assert received == chunk(upper(sent)) + LAST


@pytest.mark.parametrize("last", [b"BROKEN", None])
@pytest.mark.parametrize("trouble", ["drain", "Redis", "gap", "undecodable"])
def test_translated_stream_that_cannot_continue(
    streaming: Callable[..., Streaming], last: bytes | None, trouble: str
) -> None:
    """A drain, Redis away, missing entries and undecodable ones each end the stream with the format's last bytes and a
    complete body, or cut it where the format has none."""
    form = Upper()
    form.last = last
    one = streaming(form)
    match trouble:
        case "drain":
            one.reader.leave_at = time.monotonic()
        case "Redis":
            one.feed.jump(100)
        case "gap":
            one.feed.gone = True
        case "undecodable":
            one.feed.tail.append(b"{")
            form.entries = undecodable  # type: ignore[method-assign]
    one.reader.wake()
    until(lambda: one.released)
    assert one.client.recv(1000) == (chunk(last) + LAST if last is not None else b"")
    assert bool(one.given_back) == (last is not None)


def undecodable(rows: list[Row]) -> bytes:  # noqa: ARG001 - the protocol's shape
    """A translation that fails."""
    raise UndecodableRecord("entry", b"{")


def fails(rows: list[Row]) -> bytes:
    """A bug."""
    raise AssertionError(rows)


def test_bug_in_a_translation_ends_its_stream_alone(streaming: Callable[..., Streaming]) -> None:
    """An error in the follower's greenlet ends the stream that it comes from; the wake-up of others goes on."""
    form = Upper()
    form.entries = fails  # type: ignore[method-assign]
    one = streaming(form)
    one.say("a")
    assert one.released == 1
    assert one.client.recv(1000) == b""


def test_heartbeats_while_no_turn_is_free(streaming: Callable[..., Streaming]) -> None:
    """A stream that waits for its turn to translate old entries sends heartbeats meanwhile."""
    one = streaming(Upper())
    assert one.folds.enter(0)
    one.feed.jump(100)
    one.reader.tick_at = time.monotonic()
    one.reader.wake()
    until(lambda: one.reader.tick_at > time.monotonic())
    assert one.client.recv(1000) == chunk(b"BEAT")
    one.folds.leave()
    until(lambda: one.released)
    assert one.client.recv(1000) == chunk(b"BROKEN") + LAST


def test_text_has_no_heartbeat(streaming: Callable[..., Streaming]) -> None:
    """Nothing is sent in a silence of bare text, and the next beat is due later."""
    one = streaming(Text(has_text=False))
    one.reader.tick_at = time.monotonic()
    one.reader.wake()
    until(lambda: one.reader.tick_at > time.monotonic())
    one.say("a")
    assert one.client.recv(1000) == chunk(b"a")


@pytest.mark.parametrize("kind", [Kind.FAILED, Kind.CANCELLED])
def test_text_that_ends_incomplete_is_cut(streaming: Callable[..., Streaming], kind: Kind) -> None:
    """The text so far is sent, and the body has no last chunk."""
    one = streaming(Text(has_text=False))
    one.feed.add(1, [*tokens(1, "a"), Entry(2, kind, AT, {}).encode()])
    one.feed.wake()
    until(lambda: one.released)
    assert one.client.recv(1000) == chunk(b"a")
    assert one.client.recv(1000) == b""
    assert one.given_back == []


@pytest.mark.parametrize("is_complete", [True, False])
def test_text_from_the_end_of_an_ended_log(streaming: Callable[..., Streaming], is_complete: bool) -> None:
    """A text of which the client has everything is complete and empty; one that failed is cut."""
    one = streaming(Text(has_text=True, is_complete=is_complete))
    one.feed.ended = True
    one.feed.wake()
    until(lambda: one.released)
    assert one.client.recv(1000) == (LAST if is_complete else b"")


def test_notice_is_sent_once_and_taken_back(streaming: Callable[..., Streaming]) -> None:
    """A reader is sent the operator's notice when it changes, beside its entries, and that it is over."""
    one = streaming(chunked=False)
    for text in ("soon", None):
        one.reader._follower.notice = text
        one.reader.wake()
        one.reader.wake()
    assert one.client.recv(1000) == b'{"type":"notice","text":"soon"}\n{"type":"notice","text":null}\n'
