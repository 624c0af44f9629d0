"""The URL of a receiver: its parts, and which URLs can be one."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

URL_AT_MOST = 2048
_VISIBLE = re.compile(r"[!-~]+")
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a delivery goes. ``path`` has the query too."""

    is_encrypted: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """The parts of a URL. Raises ``ValueError``, whose message completes "the URL …"."""
        if len(url) > URL_AT_MOST:
            raise ValueError(f"must be at most {URL_AT_MOST} characters")
        if not _VISIBLE.fullmatch(url):
            raise ValueError("must be ASCII without spaces; write other host names as xn--…")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError("must have a valid host and port") from None
        if parts.scheme not in _PORTS:
            raise ValueError("must begin with https://")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not contain a user name or password")
        if parts.fragment:
            raise ValueError("must not contain a fragment (#…)")
        if not host or len(host) > 253 or port == 0:
            raise ValueError("must have a valid host and port")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme == "https", host, port or _PORTS[parts.scheme], path)

    @property
    def host_header(self) -> str:
        """The value of ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https" if self.is_encrypted else "http"] else f"{host}:{self.port}"

    def lane_of(self, owner: str) -> str:
        """The lane of deliveries of this owner to this host and port: ``OWNER/DIGEST``."""
        digest = hashlib.sha256(f"{self.is_encrypted} {self.host}:{self.port}".encode()).hexdigest()
        return f"{owner}/{digest[:12]}"
