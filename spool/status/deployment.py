"""The state of a deployment at one moment, for ``spool status``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from spool.conditions import UNHEARD, Conditions
from spool.jobs.closed_models import ClosedModel, ClosedModels
from spool.jobs.queue_figures import QueueFigures, read_figures
from spool.jobs.shards import Shards
from spool.jobs.store import JobStore
from spool.redis.script import Script
from spool.redis.server_check import FitnessCheck, read_info
from spool.status.instances import Instance, read_instances, running
from spool.switches.store import SwitchStore
from spool.switches.switch import Switch

_OWNERS_SHOWN = 20
_FIELDS_A_STEP = 500
_STEPS_AT_MOST = 200
_LOOK_OWNERS = Script.of("look_owners", (resources.files("spool.status") / "look_owners.lua").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Server:
    """The Redis server: bytes used and ``maxmemory`` (0: none), its policy and its persistence."""

    version: str
    used: int
    limit: int
    policy: str
    has_file: bool
    clients: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """All that ``spool status`` shows. ``conditions``: the messages of what is wrong, by name."""

    instances: list[Instance]
    workers: int
    slots: int
    free_slots: int
    queues: list[QueueFigures]
    closed: Mapping[str, ClosedModel]
    switches: list[Switch]
    server: Server
    conditions: Mapping[str, str]
    set_aside: int
    owners: list[tuple[str, int, int]]
    """Owners with waiting or running jobs, and their numbers; those with the most first."""

    @property
    def is_serving(self) -> bool:
        """Whether a submit is accepted and a job begins."""
        return not self.stopping

    @property
    def stopping(self) -> list[str]:
        """The names of the conditions and switches that refuse submits, or let no job begin."""
        warnings = {"eviction_possible", "persistence_off", "persistence_failing", "no_live_worker"}
        found = sorted(set(self.conditions) - warnings)
        found += [] if self.workers else ["no_live_worker"]
        return found + [switch.name for switch in self.switches if switch.stops_all]

    def document(self) -> dict[str, Any]:
        """The state as JSON."""
        queues = [
            {
                "model": queue.model,
                "waiting": queue.waiting,
                "running": queue.running,
                "oldest_s": {priority.value: round(age_s, 1) for priority, (_id, age_s) in queue.oldest.items()},
            }
            for queue in self.queues
        ]
        return {
            "is_serving": self.is_serving,
            "versions": [asdict(each) for each in running(self.instances)],
            "instances": [asdict(each) for each in self.instances],
            "workers": {"live": self.workers, "slots": self.slots, "free": self.free_slots},
            "streams": sum(each.streams for each in self.instances),
            "queues": queues,
            "owners": [
                {"owner": owner, "waiting": waiting, "running": running_jobs}
                for owner, waiting, running_jobs in self.owners
            ],
            "closed_models": {name: asdict(closed) for name, closed in self.closed.items()},
            "switches": [asdict(switch) for switch in self.switches],
            "redis": asdict(self.server),
            "conditions": dict(self.conditions),
            "set_aside": self.set_aside,
        }


def look(shards: Shards, watermark: float) -> Deployment:
    """The state now. Raises ``StoreUnavailable``."""
    link = next(iter(shards)).link
    conditions = Conditions(logger=UNHEARD)
    FitnessCheck(link, conditions, watermark=watermark, shards=len(shards)).look()
    workers, slots, free = _slots(shards)
    return Deployment(
        instances=read_instances(link),
        workers=workers,
        slots=slots,
        free_slots=free,
        queues=[one for shard in shards for one in read_figures(shard) if one.waiting or one.running],
        closed=ClosedModels(shards).look(),
        switches=SwitchStore(link).all(),
        server=_server(shards),
        conditions={condition.name: condition.message for condition in conditions},
        set_aside=JobStore(shards).set_aside(),
        owners=_owners(shards),
    )


def _slots(shards: Shards) -> tuple[int, int, int]:
    """The live workers, their slots, and those that are free."""
    shard = next(iter(shards))
    keys = [shard.key(name) for name in ("workers", "slots", "capacity")]
    (seconds, _micros), until, *tables = shard.link.pipeline(
        [("TIME",), ("ZRANGE", keys[0], 0, -1, "WITHSCORES"), ("HGETALL", keys[1]), ("HGETALL", keys[2])]
    )
    alive = {name for name, score in zip(until[::2], until[1::2], strict=True) if float(score) > int(seconds) * 1000}
    free, capacity = (
        sum(int(value) for name, value in zip(table[::2], table[1::2], strict=True) if name in alive)
        for table in tables
    )
    return len(alive), capacity, free


def _owners(shards: Shards) -> list[tuple[str, int, int]]:
    """The owners with jobs, from a bounded part of the ledgers."""
    found: dict[str, tuple[int, int]] = {}
    for shard in shards:
        cursor = b"0"
        for _ in range(_STEPS_AT_MOST):
            cursor, *values = shard.run(_LOOK_OWNERS, cursor, _FIELDS_A_STEP)
            for raw, queued, running_jobs in zip(values[::3], values[1::3], values[2::3], strict=True):
                owner = raw.decode(errors="replace")
                before = found.get(owner, (0, 0))
                found[owner] = before[0] + queued, before[1] + running_jobs
            if cursor == b"0":
                break
    busy = [(owner, *numbers) for owner, numbers in found.items() if any(numbers)]
    return sorted(busy, key=lambda one: (-one[1] - one[2], one[0]))[:_OWNERS_SHOWN]


def _server(shards: Shards) -> Server:
    info: dict[str, str] = {}
    for section in ("server", "memory", "persistence", "clients"):
        info |= read_info(next(iter(shards)).link, section)
    name = "valkey" if "valkey_version" in info else "redis"
    return Server(
        version=f"{name} {info.get(f'{name}_version', '?')}",
        used=int(info.get("used_memory", 0)),
        limit=int(info.get("maxmemory", 0)),
        policy=info.get("maxmemory_policy", "?"),
        has_file=info.get("aof_enabled") == "1",
        clients=int(info.get("connected_clients", 0)),
    )
