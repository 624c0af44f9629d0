"""The proxy between a browser and a web, which remembers what was asked for."""

from __future__ import annotations

import re

from tests.proxy import Proxy

_REQUEST = re.compile(rb"^(?:GET|POST|DELETE) (\S+) HTTP/1\.1\r\n", re.MULTILINE)


class CuttingProxy(Proxy):
    """Forwards what comes to ``url`` to a port of this machine. ``requests``: the path of every request it saw."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.port}"

    def requests_for(self, job: str) -> list[str]:
        """The paths of those requests that were about one job."""
        return [path for path in self.requests if job in path]

    def saw(self, data: bytes) -> None:
        """A piece of what the browser sent."""
        self.requests += [path.decode() for path in _REQUEST.findall(data)]
