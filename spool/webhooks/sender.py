"""Sends one delivery: resolves the host once, connects to an address that was checked, and reads the answer's head.

It follows no redirect, uses no proxy, reads at most 16 KiB and takes at most ten seconds.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from spool.deadline import Deadline
from spool.webhooks.addresses import AllowedAddresses
from spool.webhooks.target import Target

TIMEOUT_S = 10.0
Resolve = Callable[[str, int, float], Sequence[str]]
"""The addresses of a host and port, within so many seconds. Raises ``OSError``."""
_ADDRESSES_AT_MOST = 3
_HEAD_BYTES = 16 * 1024
_READ_BYTES = 4096
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r\n]")
_RETRY_AFTER = re.compile(rb"^retry-after:[ \t]*([0-9]{1,6})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_HEAD_ENDS = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of a receiver's answer. ``retry_after_s``: 0 without the header."""

    status: int
    retry_after_s: int = 0


class SendFailed(Exception):
    """No answer came; the message says why, and its owner may see it. ``was_connected``: a receiver was there."""

    def __init__(self, message: str, *, was_connected: bool = False) -> None:
        super().__init__(message)
        self.was_connected = was_connected


def resolve(host: str, port: int, timeout_s: float) -> Sequence[str]:  # noqa: ARG001 - the system has its own timeout
    """The addresses of a host by the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Sender:
    """Sends deliveries to the allowed addresses. ``context`` verifies certificates."""

    def __init__(
        self,
        allowed: AllowedAddresses,
        resolve: Resolve = resolve,
        context: ssl.SSLContext | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._context = context
        self._timeout_s = timeout_s

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request. Raises ``SendFailed``."""
        deadline = Deadline.after(self._timeout_s)
        try:
            target = Target.parse(url)
        except ValueError as exc:
            raise SendFailed(f"the URL {exc}") from exc
        was_connected = False
        try:
            with self._connected(target, deadline) as connection:
                was_connected = True
                connection.sendall(_request(target, headers, body))
                return _answer(connection, deadline)
        except TimeoutError as exc:
            raise SendFailed(f"no answer within {self._timeout_s:g} s", was_connected=was_connected) from exc
        except ssl.SSLError as exc:
            raise SendFailed(f"TLS: {getattr(exc, 'verify_message', '') or exc.reason or 'failed'}") from exc
        except OSError as exc:
            raise SendFailed(exc.strerror or "the connection was lost", was_connected=was_connected) from exc

    def _connected(self, target: Target, deadline: Deadline) -> socket.socket:
        """A connection to the target. Its addresses are looked up once; those that are tried have been checked."""
        try:
            found = self._resolve(target.host, target.port, deadline.left_s)
        except (OSError, UnicodeError) as exc:
            raise SendFailed("the host name cannot be resolved") from exc
        may = [each for each in found if self._allowed.may_connect(each, is_encrypted=target.is_encrypted)]
        if not may:
            raise SendFailed("the host has no address that webhooks may be sent to (SPOOL_WEBHOOK_ALLOW)")
        failure: OSError = TimeoutError()
        for address in may[:_ADDRESSES_AT_MOST]:
            if deadline.passed:
                break
            try:
                return self._open(address, target, deadline)
            except OSError as exc:
                failure = exc
        raise failure

    def _open(self, address: str, target: Target, deadline: Deadline) -> socket.socket:
        connection = socket.create_connection((address, target.port), timeout=max(0.01, deadline.left_s))
        try:
            # The kernel may have gone to another address than the text seems to say.
            peer = str(connection.getpeername()[0])
            if not self._allowed.may_connect(peer, is_encrypted=target.is_encrypted):
                raise SendFailed("the address is not allowed for webhooks (SPOOL_WEBHOOK_ALLOW)")
            connection.settimeout(max(0.01, deadline.left_s))
            if target.is_encrypted:
                # Late: most workers never need the certificates of all authorities.
                self._context = self._context or ssl.create_default_context()
                return self._context.wrap_socket(connection, server_hostname=target.host)
        except BaseException:
            connection.close()
            raise
        return connection


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"POST {target.path} HTTP/1.1", f"Host: {target.host_header}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("ascii") + body


def _answer(connection: socket.socket, deadline: Deadline) -> Answer:
    """The first head that is not informational (1xx). Its body is not read."""
    read, most = b"", _HEAD_BYTES
    while True:
        while (end := _HEAD_ENDS.search(read)) is None:
            if deadline.passed:
                raise TimeoutError
            connection.settimeout(max(0.01, deadline.left_s))
            some = connection.recv(_READ_BYTES)
            most -= len(some)
            if not some or most < 0:
                raise SendFailed("the answer is not a whole HTTP/1.1 head of at most 16 KiB", was_connected=True)
            read += some
        head, read = read[: end.end()], read[end.end() :]
        status = _STATUS.match(head)
        if status is None:
            raise SendFailed("the answer is not HTTP/1.1", was_connected=True)
        if int(status[1]) >= 200:
            after = _RETRY_AFTER.search(head)
            return Answer(int(status[1]), int(after[1]) if after else 0)
