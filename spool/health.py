"""The health check of a web's container: ``python -m spool.health``. Exit status 0 if the web can accept jobs.

A container engine restarts a container that ends, but not one that hangs. So ``--end-children-of`` kills a web that
accepts connections and does not answer. The engine's own init, process 1, ends with it, and the container restarts.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

READY_S = 2.0
ALIVE_S = 10.0
"""With an interval of 5 s, a web that hangs is killed within 20 s."""


def main(argv: Sequence[str], port: int, *, ready_s: float = READY_S, alive_s: float = ALIVE_S) -> int:
    """Check the web on this machine, and kill it if it hangs and ``--end-children-of`` is given. Returns the exit
    status."""
    parser = argparse.ArgumentParser(prog="python -m spool.health")
    parser.add_argument("--end-children-of", type=int, metavar="PID", help="kill this process's children if it hangs")
    options = parser.parse_args(argv)
    with suppress(TimeoutError):
        if _status("/readyz", port, ready_s) == 200:
            return 0
    if options.end_children_of is not None and hangs(port, alive_s):
        print(f"the web accepted a connection but did not answer within {alive_s:g} s: killed", file=sys.stderr)
        for pid in children_of(options.end_children_of):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return 1


def hangs(port: int, within_s: float = ALIVE_S) -> bool:
    """Whether ``/livez`` gets no answer in time. A web that refuses connections is starting or stopping."""
    try:
        _status("/livez", port, within_s)
    except TimeoutError:
        return True
    return False


def children_of(pid: int) -> list[int]:
    """All descendants of the process ``pid``, parents first."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            found += [int(child), *children_of(int(child))]
    return found


def _status(path: str, port: int, within_s: float) -> int | None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=within_s)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], int(os.environ.get("SPOOL_PORT", "8000"))))
