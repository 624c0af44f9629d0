"""A proxy that looks at every request: it refuses, swallows or holds back what a network may not let through."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.browser.cutting_proxy import CuttingProxy

STREAM, SOCKET, LONG_POLL, ENTRIES = r"/stream", r"/ws", r"wait=[1-9]", r"/entries"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".html": "text/html; charset=utf-8"}
_REFUSAL = b"<!doctype html><title>502 Bad Gateway</title>"


class HttpProxy(CuttingProxy):
    """Each list has patterns of paths: ``refused`` get 502, ``swallowed`` no answer, ``held`` their answer only once it
    is whole. ``files``: what it serves itself, by the first part of the path. One request to a connection."""

    def __init__(self, target_port: int, **files: Path) -> None:
        self.refused: list[str] = []
        self.swallowed: list[str] = []
        self.held: list[str] = []
        self.files = files
        self._frozen = 0
        super().__init__(target_port)

    def freeze(self) -> None:
        """Let nothing more through on the connections that there are, without FIN or RST. New ones are served."""
        self._frozen = self.accepted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        number, pair = self.accepted, [writer]
        self._pairs[number] = pair
        try:
            await self._passes.wait()
            head = await reader.readuntil(b"\r\n\r\n")
            self.saw(head)
            path = head.split(b" ", 2)[1].decode()
            if answer := self._own_answer(path):
                writer.write(answer)
                await writer.drain()
            elif _matches(self.swallowed, path):
                await reader.read()
            else:
                await self._forward(number, reader, path, head)
        except* (OSError, asyncio.IncompleteReadError):
            self._reset(pair)
        finally:
            del self._pairs[number]
            for end in pair:
                end.close()

    async def _forward(self, number: int, reader: asyncio.StreamReader, path: str, head: bytes) -> None:
        far_reader, far_writer = await self._connect()
        writer = self._pairs[number][0]
        self._pairs[number].append(far_writer)
        if b"upgrade: websocket" not in head.lower():
            head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)[:-2] + b"Connection: close\r\n\r\n"
        far_writer.write(head)
        async with asyncio.TaskGroup() as both:
            upload = both.create_task(self._pass(number, reader, far_writer))
            if _matches(self.held, path):
                writer.write(await far_reader.read(-1))
            else:
                await self._pass(number, far_reader, writer)
            await writer.drain()
            upload.cancel()

    async def _pass(self, number: int, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            await self._passes.wait()
            if number <= self._frozen:
                await asyncio.Event().wait()
            target.write(data)
            await target.drain()

    def _own_answer(self, path: str) -> bytes:
        folder, _, name = path.lstrip("/").partition("?")[0].partition("/")
        if folder in self.files:
            file = self.files[folder] / name
            return _answer(200, _TYPES.get(file.suffix, "text/plain"), file.read_bytes())
        if _matches(self.refused, path):
            return _answer(502, "text/html", _REFUSAL)
        return b""


def _matches(patterns: list[str], path: str) -> bool:
    return any(re.search(pattern, path) for pattern in patterns)


def _answer(status: int, media_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} x\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
