"""The processes that run: each publishes itself in Redis every few seconds, and reads the others in the same call."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from importlib import resources
from itertools import islice
from typing import Any

import orjson

import spool
from spool.build import commit
from spool.errors import StoreUnavailable
from spool.jobs.job import SCHEMA
from spool.keys import HOME
from spool.redis.link import RedisLink
from spool.redis.script import Script

PUBLISH_S = 3.0
_LIFE_MS = 12_000
INSTANCES_AT_MOST = 1000
_MODELS_AT_MOST = 100
_PUBLISH = Script.of(
    "publish_instance", (resources.files("spool.status") / "publish_instance.lua").read_text(encoding="utf-8")
)


@dataclass(frozen=True, slots=True)
class Instance:
    """A process. ``instance``: its name for switches, which the processes of a web share; ``skew_ms``: by how much its
    clock is ahead of Redis's; ``files``: its limit of open files; ``streams``: its open
    ones."""

    instance: str
    program: str
    pid: int
    version: str
    commit: str | None
    schema: int
    started_ms: int
    skew_ms: int = 0
    files: int = 0
    streams: int = 0
    is_drained: bool = False
    models: tuple[str, ...] = ()
    """The models of which a worker runs jobs, at most a hundred."""

    @classmethod
    def of_this_process(cls, instance: str, program: str) -> Instance:
        """This process."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        now_ms = int(time.time() * 1000)
        return cls(instance, program, os.getpid(), spool.__version__, commit(), SCHEMA, now_ms, files=files)

    @classmethod
    def decode(cls, raw: bytes) -> Instance | None:
        """A process in Redis; None if a version that is too different wrote it."""
        try:
            fields: dict[str, Any] = orjson.loads(raw)
            fields["models"] = tuple(fields.get("models", ()))
            return cls(**{name: fields[name] for name in cls.__dataclass_fields__ if name in fields})
        except (ValueError, TypeError, AttributeError):
            return None

    def encode(self) -> bytes:
        """The record in Redis."""
        return orjson.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Running:
    """The processes of one program, version and commit."""

    program: str
    version: str
    commit: str | None
    schema: int
    processes: int


def running(instances: Iterable[Instance]) -> list[Running]:
    """The versions that run, and the number of processes of each."""
    counted = Counter((one.program, one.version, one.commit, one.schema) for one in instances)
    ordered = sorted(counted.items(), key=lambda pair: tuple(str(part) for part in pair[0]))
    return [Running(*version, processes) for version, processes in ordered]


class Presence:
    """Publishes one process. ``clock`` is the time since the epoch. ``streams``, ``is_drained``, ``models`` are asked
    each time."""

    def __init__(
        self,
        link: RedisLink,
        own: Instance,
        *,
        streams: Callable[[], int] = lambda: 0,
        is_drained: Callable[[], bool] = lambda: False,
        models: Callable[[], Iterable[str]] = tuple,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._link = link
        self._own = own
        self._streams = streams
        self._is_drained = is_drained
        self._models = models
        self._clock = clock
        self.all: list[Instance] = []
        """All processes, at the last answer of Redis."""

    def publish(self) -> None:
        """Publish this process and read the others. Raises ``StoreUnavailable``."""
        models = tuple(islice(self._models(), _MODELS_AT_MOST))
        own = replace(self._own, streams=self._streams(), is_drained=self._is_drained(), models=models)
        before = self._clock()
        now_ms, *raws = self._link.run(
            _PUBLISH, HOME, f"{own.instance}#{own.pid}", own.encode(), _LIFE_MS, INSTANCES_AT_MOST
        )
        # The script ran between the two looks at the clock.
        skew_ms = int((before + self._clock()) * 500) - now_ms
        self._own = replace(self._own, skew_ms=skew_ms)
        self.all = _decoded(raws)

    def publish_or_leave(self) -> None:
        """The same; without Redis the known processes stay."""
        try:
            self.publish()
        except StoreUnavailable:
            return


def read_instances(link: RedisLink) -> list[Instance]:
    """The processes that live. Raises ``StoreUnavailable``."""
    return _decoded(link.run(_PUBLISH, HOME, "", "", 0, INSTANCES_AT_MOST)[1:])


def _decoded(raws: Iterable[bytes]) -> list[Instance]:
    found = (Instance.decode(raw) for raw in raws)
    return sorted((one for one in found if one is not None), key=lambda one: (one.program, one.instance, one.pid))
