"""Readers by the thousand, in one thread: each follows a job's log to its end, whatever happens to the webs.

A reader does what any client of its transport would: it resumes after the last entry it has, at the next web, when
its connection ends, is reset or refused, when it is told ``reconnect`` or ``unavailable`` or 503, after a short pause.
All else that it meets is an error of its ``Following``. It gives up at its deadline.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from tests.faults.following import Following, Turn
from tests.faults.line import Line
from tests.faults.transports import TRANSPORTS
from tests.faults.wire import Malformed

_CONNECT_S = 10.0
_AFTER_END_S = 15.0
"""How long a stream may stay open after its terminal entry."""
_TURNS_AT_MOST = 2000


@dataclass(eq=False)
class _Reader:
    following: Following
    web: int
    deadline: float
    leave_after: int | None
    expects: frozenset[int]
    expects_gaps: bool
    pace: tuple[int, float] | None
    task: asyncio.Task[None] | None = None
    line: Line | None = None
    silent: str = ""

    @property
    def must_leave(self) -> bool:
        """It has as many entries as it wanted."""
        return self.leave_after is not None and len(self.following.ids) >= self.leave_after


class Crowd:
    """``urls``: the webs. A pause that a server asks for is cut to ``pause_at_most_s``; a stream on which nothing
    came for ``silence_s``, not even a heartbeat, is an error, and taken up elsewhere. ``headers`` go with each
    request. Unless it ``remembers`` them, ``followings`` stays empty and whoever asked for a reader has it."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        pause_at_most_s: float = 1.0,
        silence_s: float = 60.0,
        headers: Mapping[str, str] | None = None,
        remembers: bool = True,
    ) -> None:
        self.followings: list[Following] = []
        self._webs = [(str(parts.hostname), int(parts.port or 80)) for parts in map(urlsplit, urls)]
        self._pause_at_most_s = pause_at_most_s
        self._silence_s = silence_s
        self._remembers = remembers
        self._headers = dict(headers or {})
        self._readers: set[_Reader] = set()
        self._next_web = 0
        self._loop = asyncio.new_event_loop()
        _raise_file_limit()
        self._thread = threading.Thread(target=self._loop.run_forever, name="crowd", daemon=True)
        self._thread.start()
        self._loop.call_soon_threadsafe(self._tick)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def follow(
        self,
        job: str,
        transport: str,
        after: int = 0,
        web: int | None = None,
        *,
        leave_after: int | None = None,
        within_s: float = 120.0,
        expects: Collection[int] = (),
        expects_gaps: bool = False,
        pace: tuple[int, float] | None = None,
    ) -> Following:
        """A new reader, which begins at the web of that number, or the next in turn. It leaves by itself at
        ``leave_after`` entries or soon after. ``expects``: statuses (404, 410) that end it without being an error.
        ``pace``: it takes so many bytes every so many seconds, with small buffers."""
        following = Following(job, transport, after)
        if web is None:
            web, self._next_web = self._next_web, self._next_web + 1
        reader = _Reader(
            following, web, time.monotonic() + within_s, leave_after, frozenset(expects), expects_gaps, pace
        )
        if self._remembers:
            self.followings.append(following)
        self._loop.call_soon_threadsafe(self._begin, reader)
        return following

    def leave(self, following: Following) -> Following:
        """Close the reader's connection, without a word; returns when it is closed."""
        self._loop.call_soon_threadsafe(self._end, following)
        return following.wait(10)

    def unfinished(self, within_s: float, followings: Iterable[Following] | None = None) -> list[Following]:
        """Wait until all read no more; those that still do after ``within_s``."""
        deadline = time.monotonic() + within_s
        asked = list(self.followings if followings is None else followings)
        return [one for one in asked if not one.done.wait(max(0.0, deadline - time.monotonic()))]

    def open(self) -> int:
        """Readers that have not finished."""
        return len(self._readers)

    def close(self) -> None:
        """Every reader leaves."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end_all(), self._loop).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    # On the loop's thread.

    def _begin(self, reader: _Reader) -> None:
        self._readers.add(reader)
        reader.task = self._loop.create_task(self._read(reader))
        reader.task.add_done_callback(lambda task: self._finished(reader, task))

    def _finished(self, reader: _Reader, task: asyncio.Task[None]) -> None:
        # Not in the task itself: one that is cancelled before its first step never runs.
        self._readers.discard(reader)
        if not task.cancelled() and task.exception() is not None:
            reader.following.errors.append(f"the reader itself broke: {task.exception()!r}")
        reader.following.done.set()

    def _end(self, following: Following) -> None:
        for reader in self._readers:
            if reader.following is following and reader.task is not None:
                following.left = True
                reader.task.cancel()

    async def _end_all(self) -> None:
        tasks = [reader.task for reader in self._readers if reader.task is not None]
        for reader in self._readers:
            reader.following.left = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _tick(self) -> None:
        """One timer looks after all readers."""
        now = time.monotonic()
        for reader in list(self._readers):
            following, line = reader.following, reader.line
            if reader.task is not None and (reader.must_leave or now > reader.deadline):
                following.left = reader.must_leave
                reader.task.cancel()
            elif line is None or reader.silent:
                continue
            elif following.ended and following.times and now - following.times[-1] > _AFTER_END_S:
                reader.silent = f"still open {_AFTER_END_S:g} s after the end"
                line.writer.transport.abort()
            elif following.transport != "text" and reader.pace is None and now - line.heard_at > self._silence_s:
                reader.silent = f"nothing came for {self._silence_s:g} s"
                line.writer.transport.abort()
        self._loop.call_later(0.1, self._tick)

    async def _read(self, reader: _Reader) -> None:
        following = reader.following
        try:
            for _ in range(_TURNS_AT_MOST):
                turn = await self._turn(reader)
                following.turns.append(turn.why)
                if turn.error:
                    following.errors.append(turn.error)
                if turn.over or reader.must_leave:
                    following.left = not turn.over
                    return
                reader.web += 1
                await asyncio.sleep(min(turn.pause_s, self._pause_at_most_s))
            following.errors.append(f"gave up after {_TURNS_AT_MOST} connections")
        except asyncio.CancelledError:
            if not following.left:
                following.errors.append(f"gave up at its deadline: {following}")

    async def _turn(self, reader: _Reader) -> Turn:
        """One connection, from connect to close."""
        reader.silent = ""
        try:
            line = reader.line = await self._connect(reader)
        except (OSError, TimeoutError):
            return Turn("refused", pause_s=0.1)
        try:
            turn = await TRANSPORTS[reader.following.transport](line)
        except (OSError, asyncio.IncompleteReadError):
            turn = Turn("reset")
        except (Malformed, ValueError, KeyError, IndexError) as exc:
            turn = Turn("malformed", error=f"{type(exc).__name__} after {reader.following.cursor}: {exc}")
        finally:
            reader.line = None
            line.writer.transport.abort()
        if reader.silent:
            return Turn("silent", error=reader.silent, over=reader.following.ended)
        # A text reader, or one whose end came just before the reset, has nothing to come back for.
        return Turn(turn.why, error=turn.error, over=True) if reader.following.ended else turn

    async def _connect(self, reader: _Reader) -> Line:
        host, port = self._webs[reader.web % len(self._webs)]
        sock = socket.socket()
        sock.setblocking(False)
        if reader.pace is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._loop.sock_connect(sock, (host, port))
            streams = await asyncio.open_connection(sock=sock, limit=2048 if reader.pace else 65_536)
        except BaseException:
            sock.close()
            raise
        return Line(
            reader.following,
            *streams,
            f"{host}:{port}",
            self._headers,
            expects=reader.expects,
            expects_gaps=reader.expects_gaps,
            pace=reader.pace,
            heard_at=time.monotonic(),
        )


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if hard != soft else (soft, hard))
