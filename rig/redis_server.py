"""A Redis of one's own, on a Unix socket."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rig.process import Process, wait_for
from spool.redis.link import RedisLink
from spool.run.server_binary import find_server


class Redis(Process):
    """The stack's Redis: a Unix socket, and an append-only file where ``aof``. ``extra`` are arguments of its own."""

    def __init__(self, directory: Path, *, aof: bool, extra: Sequence[str] = ()) -> None:
        self.socket_path = directory / "r.sock"
        self.url = f"unix://{self.socket_path}"
        binary = find_server(directory / "none")
        argv = [str(binary.path), "--port", "0", "--unixsocket", str(self.socket_path), "--dir", str(directory)]
        argv += ["--save", "", "--appendonly", "yes" if aof else "no", "--maxmemory-policy", "noeviction"]
        # As the embedded server has it.
        argv += ["--auto-aof-rewrite-min-size", "512mb", *extra]
        super().__init__("redis", argv, dict(os.environ), directory)
        self.link = RedisLink(self.url, connections=2, timeout_s=2)

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.link.call("PING") == b"PONG")
        except Exception:  # noqa: BLE001 - anything means not yet
            return False

    def restart(self, *, kill: bool = False, within_s: float = 60.0) -> None:
        """SIGTERM or SIGKILL, and start it again on the files it left; returns when it answers."""
        if kill:
            self.kill()
        else:
            self.stop(within_s)
        self.start()
        wait_for(self.is_ready, "Redis answers again", within_s)

    def info(self, section: str) -> dict[str, str]:
        """INFO, as a table."""
        lines = self.link.call("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def clients(self) -> list[str]:
        """One line per connection."""
        return self.link.call("CLIENT", "LIST").decode().strip().splitlines()  # type: ignore[no-any-return]
