"""The name of an instance: one ``spool web`` with all its processes, or one worker.

``HOST/web:PORT`` or ``HOST/worker``. ``spool run`` numbers its workers. Several workers that are started one by one on
a host have different names if SPOOL_PROCESS_NAME differs.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping

_OTHERS = re.compile(r"[^A-Za-z0-9._-]")
VARIABLE = "SPOOL_PROCESS_NAME"


def web_instance(port: int, environ: Mapping[str, str] = os.environ) -> str:
    """The name of the web on this port."""
    return f"{_host()}/{_own(environ, 'web')}:{port}"


def worker_instance(environ: Mapping[str, str] = os.environ) -> str:
    """The name of this worker."""
    return f"{_host()}/{_own(environ, 'worker')}"


def _own(environ: Mapping[str, str], program: str) -> str:
    return _plain(environ.get(VARIABLE, "")) or program


def _host() -> str:
    return _plain(socket.gethostname()) or "localhost"


def _plain(name: str) -> str:
    return _OTHERS.sub("-", name)[:80]
