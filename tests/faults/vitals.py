"""What a web holds: open streams by its own count, subscriptions by Redis's, memory and files by the kernel's."""

from __future__ import annotations

import os
import re
from pathlib import Path

import httpx

from spool.redis.link import RedisLink
from tests.faults.checker import PREFIX
from tests.loopback import NO_CERTIFICATES
from tests.stack import Process, Web

_STREAMS = re.compile(r'^spool_streams\{media_type="[^"]*"\} ([0-9.]+)$', re.MULTILINE)
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


def open_streams(web: Web) -> int:
    """How many streams it says it has."""
    text = httpx.get(f"{web.url}/metrics", timeout=10, verify=NO_CERTIFICATES).text
    return round(sum(float(count) for count in _STREAMS.findall(text)))


def subscribers(link: RedisLink, job: str) -> int:
    """How many processes listen on this job's channel."""
    return int(link.call("PUBSUB", "NUMSUB", f"{PREFIX}job:{job}:log")[1])


def processes_of(process: Process) -> list[int]:
    """The ids of its children: of a gunicorn master, what serves."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def rss_mb(process: Process) -> float:
    """Resident memory of its children together, in MB."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in processes_of(process))
    return sum(pages) * _PAGE_KB / 1024


def open_files(process: Process) -> int:
    """Open file descriptors of its children together."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in processes_of(process))


def open_connections(web: Web) -> int:
    """Connections of clients that its processes have not closed."""
    held = ("01", "08")  # ESTABLISHED, CLOSE_WAIT
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{web.port:04X}") and row[3] in held for row in rows)


def unread_bytes(web: Web) -> int:
    """Bytes that the kernel has for its processes."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{web.port:04X}") and row[3] == "01"
    )


def broke(*webs: Web) -> list[str]:
    """What they logged of errors that nobody expected: one trace each."""
    found = []
    for web in webs:
        _, *traces = web.output.read_text(errors="replace").split("Traceback (most recent call last)")
        found += [f"{web.name}: {trace[:3000]}" for trace in traces]
    return found


def kernel_tcp_mb() -> float:
    """What the kernel holds for all TCP connections of this machine, in MB."""
    found = re.search(r"^TCP: .* mem (\d+)$", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * _PAGE_KB / 1024
