"""Where the tokens of ``producer`` go: Redis streams, or nchan's publisher location. Bytes on sockets, no library."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

_CONNECTIONS = 256
"""nginx takes the requests of one connection one after the other, and waits for another worker in each if need be."""
_KEEP_S = 600
_READ_EVERY_S = 0.005
"""Each answer by itself would wake the producer as often as its tokens do."""


class _Connection:
    """A socket that is written when it can be, and never waited for."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.out = bytearray()
        self.unread = b""

    def fileno(self) -> int:
        """For select()."""
        return self.sock.fileno()

    def write(self) -> None:
        """As much as the other side takes."""
        with contextlib.suppress(BlockingIOError):
            del self.out[: self.sock.send(self.out)]


class Target(ABC):
    """One order's connections. ``answer`` finds each answer in what comes back; its group is there if it refuses."""

    answer: re.Pattern[bytes]
    linger_s = 0.0
    """How long after the last token ``close_streams`` is due."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._connections = [_Connection(sock) for sock in sockets]
        self.taken = 0
        """Commands or requests that were answered and not refused."""
        self.refused: Counter[str] = Counter()
        self._unanswered = 0
        self._dirty: set[_Connection] = set()
        self._read_at_s = 0.0

    @abstractmethod
    def add(self, job: int, data: bytes) -> None:
        """Append one entry to the job's stream."""

    @abstractmethod
    def end(self, job: int, data: bytes) -> None:
        """Append its last one."""

    @abstractmethod
    def close_streams(self) -> None:
        """End what ``end`` did not."""

    @property
    def busy(self) -> bool:
        """Whether something is unwritten or unanswered."""
        return self._unanswered > 0

    def exchange(self, wait_s: float) -> None:
        """Write what can be written, at times read what came, and wait for so long, or until more can be written."""
        for connection in self._dirty:
            connection.write()
        self._dirty = {connection for connection in self._dirty if connection.out}
        if time.monotonic() >= self._read_at_s:
            self._read_at_s = time.monotonic() + _READ_EVERY_S
            for connection in select.select(self._connections, [], [], 0)[0]:
                self._read(connection)
        wait_s = max(0.0, min(wait_s, _READ_EVERY_S if self.busy else wait_s))
        if self._dirty:
            select.select([], self._dirty, [], wait_s)
        else:
            time.sleep(wait_s)

    def close(self) -> None:
        """No more."""
        for connection in self._connections:
            connection.sock.close()

    def _read(self, connection: _Connection) -> None:
        data = connection.sock.recv(262_144)
        if not data:
            raise ConnectionError("the peer closed the producer's connection")
        whole, line_end, connection.unread = (connection.unread + data).rpartition(b"\r\n")
        for refusal in self.answer.findall(whole + line_end):
            self._unanswered -= 1
            if refusal:
                self.refused[refusal.decode()] += 1
            else:
                self.taken += 1

    def _put(self, connection: _Connection, data: bytes) -> None:
        connection.out += data
        self._unanswered += 1
        self._dirty.add(connection)


class RedisStreams(Target):
    """``XADD job:NAME * data ENTRY``, pipelined on one connection. The last one says ``end`` as well."""

    answer = re.compile(rb"(?m)^(?:[$:+]|-(\w+))")

    def __init__(self, names: Sequence[str], path: str) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        super().__init__([sock])
        self._keys = [f"job:{name}".encode() for name in names]

    def add(self, job: int, data: bytes) -> None:
        """One XADD."""
        self._call(b"XADD", self._keys[job], b"*", b"data", data)

    def end(self, job: int, data: bytes) -> None:
        """The last XADD, and an expiry."""
        self._call(b"XADD", self._keys[job], b"*", b"data", data, b"end", b"1")
        self._call(b"EXPIRE", self._keys[job], b"%d" % _KEEP_S)

    def close_streams(self) -> None:
        """Readers know the last entry."""

    def _call(self, *words: bytes) -> None:
        parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
        self._put(self._connections[0], b"*%d\r\n%b" % (len(parts), b"".join(parts)))


class Nchan(Target):
    """``POST /publish?id=NAME``, pipelined on keep-alive connections.

    A job stays on one connection, which keeps its order; neighbours share one, as they are often due together.
    """

    answer = re.compile(rb"HTTP/1\.1 (?:2\d\d|(\d+))")
    linger_s = 0.5

    def __init__(self, names: Sequence[str], port: int) -> None:
        sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(min(len(names), _CONNECTIONS))]
        for sock in sockets:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sockets)
        self._heads = [b" /publish?id=%b HTTP/1.1\r\nHost: bench\r\n" % name.encode() for name in names]

    def add(self, job: int, data: bytes) -> None:
        """One POST."""
        head = b"POST%bContent-Length: %d\r\n\r\n" % (self._heads[job], len(data))
        self._put(self._connection(job), head + data)

    def end(self, job: int, data: bytes) -> None:
        """The last POST."""
        self.add(job, data)

    def close_streams(self) -> None:
        """A deleted channel closes its subscribers' connections."""
        for job, head in enumerate(self._heads):
            self._put(self._connection(job), b"DELETE%b\r\n" % head)

    def _connection(self, job: int) -> _Connection:
        return self._connections[job * len(self._connections) // len(self._heads)]
