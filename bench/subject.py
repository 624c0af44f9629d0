"""What the bench measures: Spool, its peers, the floor. Each is a ``Subject``; the bench knows nothing else of it.

In one run every subject gets the same payload, the same number of web processes and a Redis of its own with the same
settings (append-only file, ``everysec``). Latency counts from the time a token was *due*, so every producer writes
that time into the token: its text is ``b"%d "`` with the time in whole microseconds since the epoch, 16 digits.

The peers are in ``bench/peers/``; ``bench/__main__.py`` lists all subjects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.workloads import Workload


class SubjectUnavailable(Exception):
    """It cannot be installed or started here, and why. Such a subject is skipped, which is not the same as beaten."""


class Reading(NamedTuple):
    """What one reader asks for: a full URL on 127.0.0.1, and header lines (``"Accept: text/plain"``)."""

    url: str
    headers: tuple[str, ...] = ()


class Subject(ABC):
    """One thing to measure.

    The bench calls ``install`` once, then ``start``, ``prepare`` any number of times, ``stop``; and may start again.
    """

    name: str
    """As in ``--subjects`` and in the tables: ``sse-starlette``."""
    what_it_lacks: str
    """One line on what it does not do, or empty: ``keeps no log``."""
    marker: bytes = b'"text":"'
    """The bytes right before every token's stamp on the wire, and nowhere else. Several stamps, each with its space,
    may follow one marker: they are so many tokens."""
    numbered: bool = False
    """Whether a stream's SSE ``id:`` lines are numbers that go up by one, from 1."""
    transports: frozenset[str] = frozenset({"sse"})
    """Of ``sse``, ``ndjson``, ``long-polling`` and ``websocket``, those that ``reading`` knows."""
    needs_redis: bool = True
    """Whether it uses the Redis that the bench starts for it."""
    shares_streams: bool = True
    """Whether many readers can follow one stream; without that there is no fan-out to measure."""

    @abstractmethod
    def install(self, directory: Path) -> None:
        """Fetch what it needs, at pinned versions, unless it is there.

        ``directory`` exists and is kept between runs (``build/peers/NAME``). Raises ``SubjectUnavailable``.
        """

    def configure(self, workload: Workload) -> None:  # noqa: B027 - most have nothing to do
        """Called before ``start``, with what it is started for."""

    @abstractmethod
    def start(self, directory: Path, redis_url: str, webs: int) -> None:
        """Start ``webs`` web processes and whatever produces, and return when they can serve.

        ``directory`` exists and is for this start alone: logs and configuration go there. ``redis_url`` is
        ``unix:///…/r.sock``, empty for a subject that needs none. Raises ``SubjectUnavailable``.
        """

    @abstractmethod
    def processes(self) -> Mapping[str, int]:
        """The process ids whose CPU and memory count, by name (``web0``, ``web1``, ``producer``).

        Their children count with them. Redis is not one of them, the bench knows its own.
        """

    @abstractmethod
    def prepare(self, jobs: int, rate: float, seconds: float, lead_s: float) -> Sequence[str]:
        """Begin ``jobs`` paced producers of ``int(rate * seconds)`` stamped tokens each; the URLs of their streams.

        One URL per job (``http://127.0.0.1:PORT/...``), spread over the webs. Job ``n``'s first token is due
        ``lead_s + n / jobs / rate`` seconds from the call, which spreads the producers over one interval. A late
        producer catches up, and its stamps still say when the tokens were due. A stream ends (its last chunk comes, or
        its connection closes) after the last token. Returns as soon as the streams can be read, before ``lead_s`` is
        over; may be called again once they ended. An idle stream is one whose ``lead_s`` is an hour.
        """

    @abstractmethod
    def stop(self) -> None:
        """Every process that ``start`` started is gone. May be called twice, and after a ``start`` that failed."""

    def everywhere(self, url: str) -> Sequence[str]:
        """The same stream at every web, for a job with many readers."""
        return [url]

    def reading(self, url: str, transport: str) -> Reading:
        """What a reader of that stream sends for a transport."""
        if transport not in self.transports:
            raise ValueError(f"{self.name} has no {transport}")
        return Reading(url, ("Accept: text/event-stream",))

    def produced(self) -> int | None:
        """How many tokens the producers of the last ``prepare`` have made so far, where that can be told cheaply."""
        return None
