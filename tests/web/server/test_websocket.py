"""A live WebSocket over a pair of sockets: what is written when, and that it lets go of everything, however it ends."""

from __future__ import annotations

import _socket
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent
import pytest
from gevent.event import Event

from tests.faults.wire import CLOSE, PING, PONG, TEXT, Frames, client_frame
from web.limits.unsent import Unsent
from web.limits.uploads import Uploads
from web.server.hijacked import HijackedConnection
from web.server.websocket import PING_S, WebSocket
from web.server.websocket_frames import close_frame, text_frame
from web.server.websocket_input import InputLimits
from web.server.websocket_protocol import Closed
from web.ticker import Ticker

FAR = 1e9
"""Seconds after which every deadline has passed."""


class Serving:
    """A socket, its session, and all that can be seen of them."""

    def __init__(self, *, buffer: int | None = None, stall_s: float = 5.0, uploads: Uploads | None = None) -> None:
        self.messages: list[bytes] = []
        self.do: Callable[[bytes], None] = lambda _raw: None
        self.released = 0
        self.gone = 0
        self.uploads = uploads or Uploads(100_000)
        self.ticker = Ticker()
        self.socket = WebSocket(self, InputLimits(60_000, stall_s, self.uploads), self._release, self.ticker)
        ours, self.client = socket.socketpair()
        if buffer is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.client.settimeout(60)
        plain = _socket.socket(ours.family, ours.type, ours.proto, ours.detach())
        plain.setblocking(False)
        connection = HijackedConnection(plain, chunked=False, give_back=None, stall_s=stall_s, unsent=Unsent(1_000_000))
        self._frames = Frames()
        self.socket.begin(connection)

    def begin(self, socket: WebSocket) -> None:
        """As the session."""
        socket.watch(self._gone)

    def message(self, raw: bytes) -> None:
        """Likewise."""
        self.messages.append(raw)
        self.do(raw)

    def tick(self, now: float) -> None:
        """Likewise."""

    def _release(self) -> None:
        self.released += 1

    def _gone(self) -> None:
        self.gone += 1

    def send(self, *frames: bytes) -> None:
        """Send frames, as the client."""
        self.client.sendall(b"".join(frames))

    def received(self, count: int) -> list[tuple[int, bytes]]:
        """The next frames that the client gets."""
        found: list[tuple[int, bytes]] = []
        self.client.settimeout(0)

        def enough() -> bool:
            with suppress(BlockingIOError):
                found.extend(self._frames.feed(self.client.recv(65_536)))
            return len(found) >= count

        until(enough)
        return found

    def after(self, seconds: float) -> None:
        """The tick so many seconds from now."""
        self.socket.tick(time.monotonic() + seconds)


def until(condition: Callable[[], object]) -> None:
    """Let greenlets run until it is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        gevent.sleep(0.001)


@pytest.fixture
def serving() -> Iterator[Callable[..., Serving]]:
    """Makes sockets, which are gone afterwards."""
    made: list[Serving] = []

    def make(**options: Any) -> Serving:
        made.append(Serving(**options))
        return made[-1]

    yield make
    for one in made:
        one.socket.abandon()
        one.client.close()


def code_of(frame: tuple[int, bytes]) -> int:
    """A close frame's code."""
    assert frame[0] == CLOSE, frame
    return int.from_bytes(frame[1][:2])


def test_frames_are_sent_at_once(serving: Callable[..., Serving]) -> None:
    """What is sent live is on the wire when the call returns, and nothing had to run."""
    one = serving()
    one.socket.send_now(text_frame(b"a"))
    assert one.client.recv(100) == text_frame(b"a")
    assert not one.socket.is_taken


def test_messages_are_handled_in_order(serving: Callable[..., Serving]) -> None:
    """Messages in whatever pieces reach the session whole and in order, and pings are answered in between."""
    one = serving()
    data = client_frame(TEXT, b"one") + client_frame(PING, b"p") + client_frame(TEXT, b"two")
    for at in range(len(data)):
        one.send(data[at : at + 1])
        gevent.sleep(0)
    until(lambda: one.messages == [b"one", b"two"])
    assert one.received(1) == [(PONG, b"p")]


def test_frames_never_interleave(serving: Callable[..., Serving]) -> None:
    """A frame that the socket takes in parts is whole, whatever else is sent meanwhile, and the pongs come after it."""
    one = serving(buffer=4096)
    one.socket.send_now(text_frame(b"x" * 200_000))
    assert one.socket.is_taken
    one.send(client_frame(PING, b"p"))

    def say(text: bytes) -> None:
        with one.socket.turn():
            one.socket.send(text_frame(text))

    says = [gevent.spawn(say, text * 50_000) for text in (b"y", b"z")]
    frames = one.received(4)
    gevent.joinall(says, raise_error=True)
    assert frames[0] == (TEXT, b"x" * 200_000)
    assert sorted(frames[1:]) == sorted([(TEXT, b"y" * 50_000), (TEXT, b"z" * 50_000), (PONG, b"p")])
    assert not one.socket.is_taken


def test_input_stops_while_replies_wait(serving: Callable[..., Serving]) -> None:
    """A client that takes nothing and pings without end is not read from; once it reads, every ping is answered."""
    one = serving(buffer=4096)
    one.socket.send_now(text_frame(b"x" * 200_000))
    ping = client_frame(PING, b"p" * 100)
    sent, frames = 0, ping * 1000
    one.client.settimeout(0)
    for _ in range(100):
        with suppress(BlockingIOError):
            sent += one.client.send(frames[sent % len(ping) :])
        gevent.sleep(0)
    assert one.socket._writer.pending < 10_000
    whole = sent // len(ping)
    assert one.received(1 + whole) == [(TEXT, b"x" * 200_000), *[(PONG, b"p" * 100)] * whole]


def test_input_stops_while_messages_wait(serving: Callable[..., Serving]) -> None:
    """Messages wait in the client while as many as may be are queued here."""
    one = serving()
    go_on = Event()
    one.do = lambda _raw: go_on.wait() and None  # type: ignore[assignment]
    one.send(*[client_frame(TEXT, b"%d" % number) for number in range(100)])
    until(lambda: one.messages)
    for _ in range(20):
        gevent.sleep(0)
    assert len(one.socket._input.inbox) <= 32
    go_on.set()
    until(lambda: len(one.messages) == 100)
    assert one.messages == [b"%d" % number for number in range(100)]


def test_end_closes_and_waits_for_the_client(serving: Callable[..., Serving]) -> None:
    """After the last frame the socket is held until the client closes, and its input is discarded."""
    one = serving()
    with one.socket.turn():
        one.socket.finish(text_frame(b"last") + close_frame(1000))
    assert [one.gone, one.released] == [1, 0]
    one.send(client_frame(TEXT, b"late"), client_frame(CLOSE, (1000).to_bytes(2)))
    frames = one.received(2)
    assert (frames[0], code_of(frames[1])) == ((TEXT, b"last"), 1000)
    assert one.client.recv(10) == b""
    one.client.close()
    until(lambda: one.released)
    assert one.messages == []


def test_client_that_never_closes(serving: Callable[..., Serving]) -> None:
    """The wait for the client's close ends, in time and in bytes."""
    idle, talking = serving(), serving()
    for one in (idle, talking):
        one.socket.close_with(1001, "bye")
        assert code_of(one.received(1)[0]) == 1001
    idle.after(0)
    assert idle.released == 0
    idle.after(10)
    assert idle.released == 1

    def flood() -> int:
        with suppress(BlockingIOError, ConnectionError):
            talking.client.send(b"x" * 10_000)
        return talking.released

    talking.client.settimeout(0)
    until(flood)


def test_clients_close_is_answered(serving: Callable[..., Serving]) -> None:
    """The client's close is answered with its code, after the messages before it have been handled."""
    one = serving()
    one.send(client_frame(TEXT, b"cancel"), client_frame(CLOSE, (1001).to_bytes(2)))
    assert code_of(one.received(1)[0]) == 1001
    assert (one.messages, one.gone) == ([b"cancel"], 1)
    one.client.close()
    until(lambda: one.released)


def test_client_that_leaves(serving: Callable[..., Serving]) -> None:
    """An idle socket ends when its client disconnects; likewise one that waits for a slow client."""
    idle, busy = serving(), serving(buffer=4096)
    busy.socket.send_now(text_frame(b"x" * 200_000))
    for one in (idle, busy):
        one.client.close()
        until(lambda one=one: one.released)
        assert (one.gone, one.released) == (1, 1)


def test_client_that_takes_nothing(serving: Callable[..., Serving]) -> None:
    """It has its time for a piece, and no more."""
    one = serving(buffer=4096, stall_s=0.05)
    one.socket.send_now(text_frame(b"x" * 200_000))
    until(lambda: one.released)
    assert one.gone == 1
    with pytest.raises(OSError, match="closed"), one.socket.turn():
        one.socket.send(b"nobody is there")


def test_ping_and_pong(serving: Callable[..., Serving]) -> None:
    """A client that answers pings stays; without an answer until the next one, the socket closes."""
    one = serving()
    one.after(PING_S - 1)
    one.after(PING_S)
    assert one.received(1) == [(PING, b"")]
    one.send(client_frame(PONG, b""))
    until(lambda: one.socket._input.has_pong)
    one.after(3 * PING_S)
    assert one.received(1) == [(PING, b"")]
    one.after(5 * PING_S)
    assert code_of(one.received(1)[0]) == 1008


def test_no_ping_while_a_client_is_slow(serving: Callable[..., Serving]) -> None:
    """A client that is still taking a large frame is not asked for a pong, which it could not see."""
    one = serving(buffer=4096)
    one.socket.send_now(text_frame(b"x" * 200_000))
    one.after(FAR)
    one.after(2 * FAR)
    assert one.received(1) == [(TEXT, b"x" * 200_000)]
    assert one.gone == 0


def test_message_that_stops_half_way(serving: Callable[..., Serving]) -> None:
    """A message must be complete in time, and nothing of it is kept."""
    one = serving()
    part = client_frame(TEXT, b"x" * 50_000)
    one.send(bytes((part[0] & 0x7F,)) + part[1:])
    until(lambda: one.uploads.counted)
    one.after(1)
    one.after(6)
    assert code_of(one.received(1)[0]) == 1008
    assert one.uploads.counted == 0


def test_shared_memory_is_full(serving: Callable[..., Serving]) -> None:
    """The socket without progress for the longest is closed for others."""
    uploads = Uploads(100_000)
    first, *rest = (serving(uploads=uploads) for _ in range(3))
    part = client_frame(TEXT, b"x" * 50_000)
    for one in (first, *rest):
        one.send(bytes((part[0] & 0x7F,)) + part[1:])
        until(lambda one=one: one.socket._input.size == 50_000 or one.gone)
    assert code_of(first.received(1)[0]) == 1013
    assert [one.gone for one in rest] == [0, 0]


def test_message_that_its_session_keeps(serving: Callable[..., Serving]) -> None:
    """A message that cannot be handled yet still counts, and its socket closes like one whose message is incomplete."""
    uploads = Uploads(100_000)
    one, other = (serving(uploads=uploads) for _ in range(2))
    may_go_on = Event()

    def keep(raw: bytes) -> None:
        one.socket.keep(len(raw))
        may_go_on.wait()
        one.socket.keep(0)

    one.do = keep
    one.send(client_frame(TEXT, b"x" * 60_000))
    until(lambda: uploads.counted > 40_000)
    part = client_frame(TEXT, b"x" * 60_000)
    other.send(part[:-1])
    until(lambda: one.gone or uploads.counted > 80_000)
    more = serving(uploads=uploads)
    more.send(part[:-1])
    assert code_of(one.received(1)[0]) == 1013
    may_go_on.set()
    gevent.sleep(0)
    until(lambda: uploads.counted < 90_000)


@pytest.mark.parametrize(
    ("exc", "code"), [(Closed(4404, "no such job"), 4404), (OSError(), None), (RuntimeError("broken"), 1011)]
)
def test_message_that_fails(serving: Callable[..., Serving], exc: Exception, code: int | None) -> None:
    """What the session raises closes the socket, and messages behind it are dropped."""
    one = serving()

    def fail(_raw: bytes) -> None:
        raise exc

    one.do = fail
    one.send(client_frame(TEXT, b"1"), client_frame(TEXT, b"2"))
    if code is None:
        until(lambda: one.released)
    else:
        assert code_of(one.received(1)[0]) == code
    assert (one.messages, one.gone) == ([b"1"], 1)


def test_nothing_is_held_afterwards(serving: Callable[..., Serving]) -> None:
    """Nothing refers to a socket that has ended, so its memory is free without the garbage collector."""
    one = serving()
    one.client.close()
    until(lambda: one.released)
    # That of the test, and that of the call.
    until(lambda: sys.getrefcount(one.socket) == 2)
