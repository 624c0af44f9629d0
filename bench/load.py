"""The load generator, from Python: many readers at a time, and what they saw.

``bench/streamload.c`` does the reading where there is a C compiler. Without one the readers in ``bench.python_readers``
do, at many times the CPU per token, and the table says so: on a small machine that is then part of what is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.compiler import program
from bench.subject import Reading

_SLACK_S = 20


@dataclass(frozen=True)
class Load:
    """What the readers saw.

    Latency is from when a token was due to its read; ``first_*`` from when a connection was due to its first token.
    """

    delivered: int = 0
    entries: int = 0
    """Ids seen, where they are looked at."""
    bytes: int = 0
    span_s: float = 0.0
    """From the first token read to the last."""
    took_s: float = 0.0
    """From the first connection's beginning to the last token, or repeated answer."""
    rate: float = 0.0
    """Tokens per second over the span."""
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0
    counted: int = 0
    """Tokens whose latency counted: those due after the warm-up."""
    first_p50_ms: float = 0.0
    first_p99_ms: float = 0.0
    served_p50_ms: float = 0.0
    """From when a connection was due to its last token; of a repeated request, to its answer."""
    served_p99_ms: float = 0.0
    connections: int = 0
    complete: int = 0
    """Streams that brought all their tokens."""
    ended: int = 0
    """Streams that ended as HTTP says an answer ends."""
    open: int = 0
    """Streams that had not ended when time was up."""
    refused: int = 0
    closed_early: int = 0
    bad_status: int = 0
    malformed: int = 0
    missing_or_doubled: int = 0
    """Ids that did not go up by one."""
    early: int = 0
    """Tokens read before they were due."""
    requests: int = 0
    answers: int = 0
    """Whole ones."""
    reopened: int = 0
    turned_away: int = 0
    """How often a stream ended as it should, but too early, and was asked for again."""
    cpu_s: float = 0.0
    """Of the load generator itself."""
    sample: str = ""
    """The last that came on the first stream that ended without all its tokens."""

    @property
    def errors(self) -> int:
        """Connections that failed, and ids out of order."""
        return self.refused + self.closed_early + self.bad_status + self.malformed + self.missing_or_doubled


@dataclass(frozen=True)
class Asked:
    """How to read."""

    marker: bytes
    tokens: int
    """Of each stream."""
    seconds: float
    """At most so long."""
    warmup_s: float = 0.0
    pace: float = 2000.0
    """Connections opened per second."""
    ids: bool = False
    """Whether ids must go up by one."""
    poll: bool = False
    """Long polling: each answer names the next request's ``after``."""
    websocket: bool = False
    """What follows the handshake are a WebSocket's frames."""
    repeat: bool = False
    """Ask again on the same connection, as fast as answers come, until time is up."""
    again_s: float = 0.0
    """After so long a stream that ended too early is asked for again, from its last id, as EventSource does."""
    status: int = 0
    """What every answer must have, if that is not 200 (or 101)."""
    body: str = ""
    """With it, every request is a POST."""


def compiled() -> Path | None:
    """The C program, if there can be one."""
    return program("streamload")


class Readers:
    """Readers at work, in a process of their own. A context manager: they are gone at its end."""

    def __init__(self, readings: Sequence[Reading], asked: Asked) -> None:
        self._file = tempfile.NamedTemporaryFile("w", prefix="readings-", suffix=".txt")  # noqa: SIM115
        self._seconds = asked.seconds
        body = (asked.body,) if asked.body else ()
        for reading in readings:
            self._file.write("\t".join([reading.url, *reading.headers, *body]) + "\n")
        self._file.flush()
        self._process = subprocess.Popen(self._argv(asked), stdout=subprocess.PIPE, text=True)

    def _argv(self, asked: Asked) -> list[str]:
        numbers = {"seconds": asked.seconds, "warmup": asked.warmup_s, "pace": asked.pace, "tokens": asked.tokens}
        numbers |= {"ids": asked.ids, "poll": asked.poll, "post": bool(asked.body), "websocket": asked.websocket}
        numbers |= {"repeat": asked.repeat, "status": asked.status, "again": asked.again_s}
        options = [f"{name}={float(value):g}" for name, value in numbers.items()]
        in_c = compiled()
        argv = [str(in_c)] if in_c else [sys.executable, "-m", "bench.python_readers"]
        return [*argv, self._file.name, asked.marker.decode(), *options]

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        self._file.close()

    def result(self) -> Load:
        """Waits for their end."""
        output, _ = self._process.communicate(timeout=self._seconds + _SLACK_S)
        if self._process.returncode:
            raise RuntimeError(f"the load generator ended with {self._process.returncode}")
        found: dict[str, Any] = json.loads(output)
        return Load(**{field.name: found[field.name] for field in fields(Load) if field.name in found})
