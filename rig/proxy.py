"""A TCP proxy whose traffic a test spoils while it runs: cut, refused, delayed, dribbled or swallowed.

In front of a port of this machine or of a Unix socket. One event loop in a thread of its own; its methods may be called
from anywhere, and what they ask for holds when they return.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

_RESET = struct.pack("ii", 1, 0)
_READ = 65_536


class Proxy:
    """Forwards what comes to ``port`` to ``target``: a port, or the path of a Unix socket."""

    def __init__(self, target: int | Path) -> None:
        self.accepted = 0
        """Connections ever made."""
        self._target = target
        self._pairs: dict[int, list[asyncio.StreamWriter]] = {}
        self._delay_s = 0.0
        self._piece = 0
        self._every_s = 0.0
        self._passes = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        # Bound and never listening: while nobody listens the port refuses, and stays ours.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port = int(self._reserved.getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()
        self.normal()

    @property
    def redis_url(self) -> str:
        """The URL of the Redis behind it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._pairs)

    def normal(self) -> None:
        """Forward at once, and take new connections. What was held back arrives."""
        self._do(self._set(passes=True, listens=True))

    def cut(self) -> int:
        """Reset every connection there is now, and say how many there were. New ones are served as before."""
        return int(self._do(self._cut()))

    def refuse(self) -> None:
        """Refuse new connections. Those that are open stay; ``cut`` them too for a server that is gone."""
        self._do(self._set(passes=True, listens=False))

    def delay(self, seconds: float) -> None:
        """Hold every piece of traffic for so long, both ways."""
        self._do(self._set(passes=True, listens=True, delay_s=seconds))

    def dribble(self, size: int, every_s: float) -> None:
        """Let through only ``size`` bytes every ``every_s`` seconds, per connection and direction."""
        self._do(self._set(passes=True, listens=True, piece=size, every_s=every_s))

    def black_hole(self) -> None:
        """Let nothing through, both ways, without FIN or RST: a cable that was pulled. New connections are made and
        hear nothing. As with a cable, what was sent meanwhile arrives after ``normal``, unless it is ``cut`` before."""
        self._do(self._set(passes=False, listens=True))

    def close(self) -> None:
        """Serve nobody any more."""
        if self._thread.is_alive():
            self._do(self._set(passes=True, listens=False))
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(60)
            self._loop.close()
            self._reserved.close()

    def saw(self, data: bytes) -> None:
        """What a client sent, as it came; for whoever wants to look."""

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _set(
        self, *, passes: bool, listens: bool, delay_s: float = 0.0, piece: int = 0, every_s: float = 0.0
    ) -> None:
        self._delay_s, self._piece, self._every_s = delay_s, piece, every_s
        (self._passes.set if passes else self._passes.clear)()
        if listens and self._server is None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, reuse_port=True, backlog=1024, limit=_READ
            )
        elif not listens and self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self) -> int:
        cut = list(self._pairs.values())
        for pair in cut:
            self._reset(pair)
        # The aborted transports close on the loop's next rounds.
        await asyncio.sleep(0)
        return len(cut)

    async def _end(self) -> None:
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)

    def _reset(self, pair: list[asyncio.StreamWriter]) -> None:
        for writer in pair:
            # A Unix socket knows no reset; its peer sees the end.
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, int):
            return await asyncio.open_connection("127.0.0.1", self._target, limit=_READ)
        return await asyncio.open_unix_connection(self._target, limit=_READ)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        number, pair = self.accepted, [writer]
        self._pairs[number] = pair
        try:
            await self._passes.wait()
            far_reader, far_writer = await self._connect()
            pair.append(far_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far_writer, looks=True))
                both.create_task(self._pump(far_reader, writer, looks=False))
        except* OSError:
            # One end was reset or is not there, so the other is reset.
            self._reset(pair)
        finally:
            del self._pairs[number]
            for end in pair:
                end.close()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, looks: bool) -> None:
        while data := await source.read(_READ):
            if looks:
                self.saw(data)
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            at = 0
            while at < len(data):
                await self._passes.wait()
                size = self._piece or len(data)
                target.write(data[at : at + size])
                at += size
                await target.drain()
                if self._piece:
                    await asyncio.sleep(self._every_s)
        await self._passes.wait()
        if target.can_write_eof():
            target.write_eof()
