"""One request that many clients repeat, in a process of their own, so that their work delays no reader of the test.

``python -m tests.faults.repeated_requests HOST PORT CLIENTS PATH [TEXT [SECONDS]]`` sends requests until its standard
input ends, and then prints what it received.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.stack import ROOT, Web

_READ_BYTES = 1 << 20
_END_S = 30.0
_APART_S = 0.005


@contextmanager
def repeated(web: Web, path: str, clients: int, *, until: str = "", every_s: float = 0.0) -> Iterator[dict[str, int]]:
    """So many clients request ``path``, read the response to its end or to the text ``until``, and repeat, for the
    length of the ``with``: each once in ``every_s`` seconds, by default as fast as it can. Yields what is known at its
    end: ``answers``, ``bytes``, and a count of each ``status``."""
    parts = urlsplit(web.url)
    options = [str(parts.hostname), str(parts.port), str(clients), path, until, str(every_s)]
    # Clients are elsewhere: they shall not take the CPU from what is measured.
    argv = ["nice", "-n", "19", sys.executable, "-m", __name__, *options]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    found: dict[str, int] = {}
    try:
        yield found
    finally:
        said, _ = process.communicate(timeout=_END_S)
        found.update(json.loads(said))


class _Clients:
    def __init__(self, host: str, port: int, path: str, until: str = "", every_s: float = 0.0) -> None:
        self._until, self._every_s = until.encode(), every_s
        self.counts: Counter[str] = Counter()
        self._host, self._port = host, port
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()

    async def ask_for_ever(self, number: int, clients: int) -> None:
        # Not all at one moment: what is measured is the requests, and not how a crowd is accepted.
        await asyncio.sleep(number * max(_APART_S, self._every_s / clients))
        while True:
            next_at = time.monotonic() + self._every_s
            with suppress(OSError):
                await self._ask()
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))

    async def _ask(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(self._request)
            head = await reader.read(_READ_BYTES)
            self.counts["bytes"] += len(head)
            end = head
            while not (self._until and self._until in end) and (data := await reader.read(_READ_BYTES)):
                self.counts["bytes"] += len(data)
                # The text may be divided between two reads.
                end = end[-len(self._until) :] + data
            self.counts["answers"] += 1
            self.counts[head[9:12].decode() or "none"] += 1
        finally:
            writer.close()


async def _main(host: str, port: int, clients: int, path: str, until: str = "", every_s: str = "0") -> None:
    asking = _Clients(host, port, path, until, float(every_s))
    tasks = [asyncio.create_task(asking.ask_for_ever(number, clients)) for number in range(clients)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(json.dumps(asking.counts))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
