"""The embedded server: a Valkey or Redis that Spool runs itself, on a Unix socket in the data directory.

    <data dir>/lock          held by the one ``spool run`` that owns the directory; names its process
    <data dir>/redis/        the server's directory: append-only files, server.pid, server.version
    <data dir>/redis.sock    its socket (or in a private temporary directory, see ``socket_path``)

It listens on no port, so only this user's processes can reach it. ``EmbeddedServer`` provides its command and its
readiness check; the supervisor runs it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import socket
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

from spool.deadline import Deadline
from spool.errors import SettingsError
from spool.redis.urls import broker_url_from
from spool.run.server_binary import ServerBinary, find_server, remember
from spool.run.temporary_files import temporary_directory

MAX_SOCKET_PATH = 100
"""In bytes. A Unix socket's path is limited to 104 bytes on macOS and 108 on Linux."""

LEFTOVER_S = 15.0
"""How long a server that a killed supervisor left behind may take to write its files and exit."""


class EmbeddedServer:
    """The server of one data directory, between ``acquire`` and ``release``."""

    def __init__(self, data_dir: Path, maxmemory: int = 0) -> None:
        self.data_dir = data_dir.absolute()
        self.redis_dir = self.data_dir / "redis"
        self.maxmemory = maxmemory
        """Limit for Redis's data in bytes; 0: no limit."""
        self.socket_path = socket_path(self.data_dir)
        self.after_a_kill = False
        """Whether the last owner of the directory ended without ``release``."""
        self._lock: IO[str] | None = None
        self._binary: ServerBinary | None = None

    @property
    def url(self) -> str:
        """Its URL in redis-py's form."""
        return f"unix://{quote(str(self.socket_path))}"

    @property
    def broker_url(self) -> str:
        """Its URL in kombu's form."""
        return broker_url_from(self.url)

    @property
    def argv(self) -> list[str]:
        """The command that starts it in the foreground, with its log on standard output."""
        if self._binary is None:
            raise RuntimeError("call acquire() first")
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.redis_dir),
            "pidfile": str(self._pid_file),
            "appendonly": "yes",
            "appendfsync": "everysec",
            # At 64 MB, the default, a busy server would fork and rewrite its file every few seconds.
            "auto-aof-rewrite-min-size": "512mb",
            "save": "",
            "maxmemory": str(self.maxmemory),
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": "",
            "loglevel": "warning",
        }
        return [str(self._binary.path), *(part for k, v in options.items() for part in (f"--{k}", v))]

    def acquire(self) -> None:
        """Acquire the directory: lock it, end a leftover server, find a binary. Raises ``SettingsError``."""
        try:
            for directory in (self.data_dir, self.redis_dir):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            private_directory(self.socket_path.parent, owned=self.socket_path.parent != self.data_dir)
        except OSError as exc:
            raise SettingsError(f"SPOOL_DATA_DIR={str(self.data_dir)!r}: {exc.strerror}") from exc
        self._end_leftover()
        record = self.redis_dir / "server.version"
        self._binary = find_server(record)
        remember(record, self._binary)

    def release(self) -> None:
        """Release the directory, after the server has ended."""
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None
        if self.socket_path.parent != self.data_dir:
            with suppress(OSError):
                self.socket_path.parent.rmdir()

    def is_ready(self) -> bool:
        """Whether it answers PING, so listens and has loaded its files."""
        return self._ask(b"PING\r\n").startswith(b"+PONG")

    @property
    def _pid_file(self) -> Path:
        return self.redis_dir / "server.pid"

    def _take_lock(self) -> None:
        # "a+": opening must not truncate the other owner's text.
        lock = (self.data_dir / "lock").open("a+", encoding="utf-8")
        lock.seek(0)
        owner = lock.read().strip()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise SettingsError(
                f"SPOOL_DATA_DIR={str(self.data_dir)!r} is in use by another Spool "
                f"(process {owner or 'unknown'}); stop it, or set another SPOOL_DATA_DIR"
            ) from None
        self.after_a_kill = bool(owner)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _end_leftover(self) -> None:
        """End the server that a killed supervisor left behind, because two servers would corrupt the files.

        This process holds the lock, so the server has no other owner. A process counts as that server only if its
        command line names the socket; another process with the same id is left alone. On SIGTERM the server writes and
        syncs its files first.
        """
        pid = self._leftover_pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = Deadline.after(LEFTOVER_S)
        while self._leftover_pid() == pid:
            if deadline.passed:
                raise SettingsError(
                    f"SPOOL_DATA_DIR={str(self.data_dir)!r}: process {pid}, left by an earlier Spool, "
                    f"still uses it and does not exit; end it first"
                )
            time.sleep(0.02)

    def _leftover_pid(self) -> int | None:
        pid = self._answering_pid()
        if pid is None and self._pid_file.exists():
            text = self._pid_file.read_text(encoding="ascii", errors="replace").strip()
            pid = int(text) if text.isdigit() else None
        return pid if pid is not None and str(self.socket_path) in command_line(pid) else None

    def _answering_pid(self) -> int | None:
        for line in self._ask(b"INFO server\r\n").splitlines():
            if line.startswith(b"process_id:"):
                return int(line.partition(b":")[2])
        return None

    def _ask(self, command: bytes, timeout_s: float = 1.0) -> bytes:
        """The beginning of the answer to one inline command; empty if there is none."""
        # Without redis-py, whose import takes longer than the server's start.
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(command)
                return connection.recv(65_536)
            except OSError:
                return b""


def socket_path(data_dir: Path) -> Path:
    """The socket of the server of ``data_dir``: inside it, or in a temporary directory if that path is too long."""
    path = data_dir / "redis.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return temporary_directory() / f"spool-{os.geteuid()}-{digest}" / "redis.sock"


def private_directory(path: Path, *, owned: bool) -> None:
    """Create the directory ``path``. If ``owned``, check that only this user has access: in /tmp, another user may have
    created it before. Raises ``SettingsError``."""
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
    if owned and not ours:
        raise SettingsError(
            f"SPOOL_DATA_DIR is too long for a socket, and other users have access to {path}, used instead; "
            "set a shorter SPOOL_DATA_DIR"
        )


def command_line(pid: int) -> str:
    """The command line of process ``pid``; empty if there is none."""
    proc = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self").exists():  # Linux, where a slim image has no ps
        try:
            return os.fsdecode(proc.read_bytes()).replace("\0", " ")
        except OSError:
            return ""
    shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)  # noqa: S603, S607
    return os.fsdecode(shown.stdout)
