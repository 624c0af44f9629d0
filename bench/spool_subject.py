"""Spool itself as a subject: webs, one Celery worker, the demo model that stamps its tokens."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.stand_in_process import StandIn
from bench.subject import Reading, Subject
from bench.workloads import Kind, Workload
from rig.process import wait_for
from rig.stack import Stack
from spool import keys

_STAMP_BYTES = 17
_LENGTHS = "local n = 0 for _, key in ipairs(KEYS) do n = n + redis.call('STRLEN', key) end return n"
_JOBS_AT_MOST = 3000
_STREAMS_AT_MOST = 6000
# The same key for all: what it guards against, a cache between, is not there.
_UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: c3Bvb2wgYmVuY2htYXJrcw==",
)


class SpoolSubject(Subject):
    """The whole of it, as users get it, on the Redis that the bench started."""

    name = "spool"
    what_it_lacks = ""
    numbered = True
    transports = frozenset({"sse", "ndjson", "long-polling", "websocket"})

    def __init__(self) -> None:
        self._stack: Stack | None = None
        self._paths: list[str] = []
        self._workers = 1
        self._asks_upstream = False
        self._stand_in: StandIn | None = None

    @property
    def stack(self) -> Stack:
        """The processes; only between ``start`` and ``stop``."""
        assert self._stack is not None
        return self._stack

    @property
    def stand_in(self) -> StandIn:
        """The model server; only for a workload that asks one."""
        assert self._stand_in is not None
        return self._stand_in

    def install(self, directory: Path) -> None:
        """It is here."""

    def configure(self, workload: Workload) -> None:
        """How many workers, and whether there is a model server to ask."""
        self._workers = workload.workers
        self._asks_upstream = workload.kind is Kind.UPSTREAM

    def start(self, directory: Path, redis_url: str, webs: int) -> None:
        """The webs and the workers. The stack's own Redis is not started: its socket is where the bench's is."""
        settings: dict[str, Any] = {"LEASE_S": 10, "HEARTBEAT_S": 15, "MAX_STREAMS": _STREAMS_AT_MOST}
        # The figures count entries and texts in Redis. bench.sizing measures packed logs.
        settings["PACK_AFTER_S"] = 0
        if self._asks_upstream:
            self._stand_in = StandIn(directory)
            self._stand_in.start()
            settings["UPSTREAM_URL"] = self._stand_in.url
        self._stack = Stack(directory, webs=webs, workers=self._workers, concurrency=_JOBS_AT_MOST, **settings)
        assert self._stack.redis.url == redis_url
        for process in [*self._stack.webs, *self._stack.workers]:
            process.start()
        self._stack.wait_ready()
        if self._asks_upstream:
            client = self._stack.client()
            wait_for(lambda: "stand-in" in client.get("/models").text, "the stand-in's model is discovered")

    def processes(self) -> Mapping[str, int]:
        """The webs and the workers."""
        return {process.name: process.pid for process in [*self.stack.webs, *self.stack.workers]}

    def prepare(self, jobs: int, rate: float, seconds: float, lead_s: float) -> Sequence[str]:
        """Submit the jobs one by one; each is told how long to wait, so that all begin as if at once."""
        begun = time.monotonic()
        connections = [http.client.HTTPConnection("127.0.0.1", web.port, timeout=30) for web in self.stack.webs]
        params = {"stamp": True, "tokens": int(rate * seconds), "rate": rate}
        self._paths = []
        for number in range(jobs):
            left_s = max(0.0, begun + lead_s + number / jobs / rate - time.monotonic())
            path = submit(connections[number % len(connections)], {**params, "first_token_s": left_s})
            self._paths.append(path)
        for connection in connections:
            connection.close()
        # One worker takes a moment to begin them all; what it has not begun by now begins late, and shows as that.
        urls = [web.url for web in self.stack.webs]
        return [f"{urls[number % len(urls)]}{path}" for number, path in enumerate(self._paths)]

    def stop(self) -> None:
        """Gone."""
        if self._stack is not None:
            self._stack.close()
            self._stack = None
        if self._stand_in is not None:
            self._stand_in.close()
            self._stand_in = None

    def everywhere(self, url: str) -> Sequence[str]:
        """Any web serves any job."""
        path = urlsplit(url).path
        return [f"{web.url}{path}" for web in self.stack.webs]

    def reading(self, url: str, transport: str) -> Reading:
        """The same path in another format, or its neighbour for polling."""
        if transport == "ndjson":
            return Reading(url, ("Accept: application/x-ndjson",))
        if transport == "long-polling":
            return Reading(f"{url.removesuffix('/stream')}/entries?wait=25")
        if transport == "websocket":
            return Reading(f"{url.removesuffix('/stream')}/ws", _UPGRADE)
        return super().reading(url, transport)

    def produced(self) -> int:
        """By the length of the texts in Redis."""
        ids = [path.split("/")[2] for path in self._paths]
        texts = [f"{keys.job(job_id)}:text" for job_id in ids]
        # In one call: this is asked for while the last tokens are on their way.
        return self.tokens_in(self.stack.redis.link.call("EVAL", _LENGTHS, len(texts), *texts))

    def tokens_in(self, text_bytes: int) -> int:
        """How many stamps that is."""
        return text_bytes // _STAMP_BYTES

    def finished_job(self, tokens: int) -> str:
        """The id of a job that has ended, with so many stamps for its text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.webs[0].port, timeout=30)
        path = submit(connection, {"stamp": True, "tokens": tokens, "rate": 0, "first_token_s": 0})
        connection.close()
        self.wait_until_ended(30)
        return path.split("/")[2]

    def wait_until_ended(self, within_s: float) -> None:
        """Wait until no job runs or waits."""
        key = f"{keys.prefix(0)}deadlines"
        wait_for(lambda: self.stack.redis.link.call("ZCARD", key) == 0, "every job ended", within_s)


def submit(
    connection: http.client.HTTPConnection, params: Mapping[str, object], model: str = "demo", **fields: object
) -> str:
    """Submit a job over a kept connection, with these ``fields`` beside its params; its stream's path."""
    body = json.dumps({"prompt": "bench", "model": model, "params": params, **fields})
    connection.request("POST", "/jobs", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    raw = answer.read()
    if answer.status not in (200, 201, 202):
        raise RuntimeError(f"a submit was answered with {answer.status}: {raw[:200]!r}")
    return str(json.loads(raw)["urls"]["stream"])
