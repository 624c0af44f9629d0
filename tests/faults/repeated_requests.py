"""One request that many clients repeat, in a process of their own, so that their work delays no reader of the test.

``python -m tests.faults.repeated_requests HOST PORT CLIENTS PATH`` asks until its standard input ends, and then prints
what it got.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.stack import ROOT, Web

_READ_BYTES = 1 << 20
_END_S = 30.0
_APART_S = 0.005


@contextmanager
def repeated(web: Web, path: str, clients: int) -> Iterator[dict[str, int]]:
    """So many clients ask the web for ``path``, read the whole answer and ask again, for the length of the ``with``.
    Answers, filled in at its end: ``answers``, ``bytes``, and a count of each ``status``."""
    parts = urlsplit(web.url)
    argv = [sys.executable, "-m", __name__, str(parts.hostname), str(parts.port), str(clients), path]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    found: dict[str, int] = {}
    try:
        yield found
    finally:
        said, _ = process.communicate(timeout=_END_S)
        found.update(json.loads(said))


class _Clients:
    def __init__(self, host: str, port: int, path: str) -> None:
        self.counts: Counter[str] = Counter()
        self._host, self._port = host, port
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()

    async def ask_for_ever(self, number: int) -> None:
        # Not all at one moment: what is measured is the requests, and not how a crowd is accepted.
        await asyncio.sleep(number * _APART_S)
        while True:
            with suppress(OSError):
                await self._ask()

    async def _ask(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(self._request)
            head = await reader.read(_READ_BYTES)
            self.counts["bytes"] += len(head)
            while data := await reader.read(_READ_BYTES):
                self.counts["bytes"] += len(data)
            self.counts["answers"] += 1
            self.counts[head[9:12].decode() or "none"] += 1
        finally:
            writer.close()


async def _main(host: str, port: int, clients: int, path: str) -> None:
    asking = _Clients(host, port, path)
    tasks = [asyncio.create_task(asking.ask_for_ever(number)) for number in range(clients)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(json.dumps(asking.counts))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
