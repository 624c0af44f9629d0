"""Waits: how many jobs begin before a queued one, when it may begin, and why it does not begin yet.

``look_queue.lua`` answers the facts of a model's queue and the place of each job; the rest is computed here.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spool.jobs.entries import LAST_S, rfc3339
from spool.jobs.job import Job, Priority
from spool.jobs.queue_facts import QueueFacts, flow_name, virtual_time
from spool.jobs.scheduling import NEAR_S


class Reason(StrEnum):
    """Why a job waits."""

    TURN = "turn"
    """Other jobs begin before it."""
    MODEL_FULL = "model_full"
    """As many jobs of its model run as may."""
    OWNER_LIMIT = "owner_limit"
    """As many jobs of its owner run as may: in all, of its model, or of its fairness key (``scope``)."""
    UPSTREAM = "upstream"
    """The upstream of its model refuses jobs for now."""
    RATE_LIMIT = "rate_limit"
    """Jobs of its model, or of its owner (``scope``), have begun with as many requests or tokens as a minute may
    have."""
    PAUSED = "paused"
    """An operator has paused its model's queue."""
    NO_WORKER = "no_worker"
    """No worker lives."""
    NOT_BEFORE = "not_before"
    """Its ``not_before`` has not come."""
    CONVERSATION = "conversation"
    """Another job of its conversation has not ended."""


_PLAIN = frozenset(string.ascii_letters + string.digits + "._-")
_STEADY_S = 1.0
_STEADY_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Place:
    """A queued job's place: its flow, the flow's virtual time, and the number of its jobs ``before`` it, None while it
    is held. Retries are the flow ''. ``reason`` is what the job waits for itself."""

    before: int | None
    flow: str = ""
    here: float = 0.0
    reason: Reason = Reason.TURN
    detail: Mapping[str, Any] | None = None
    is_exact: bool = True


@dataclass(frozen=True, slots=True)
class Wait:
    """What a queued job shows. ``starts_at`` is an estimate, in seconds since the epoch; None if nothing is known."""

    position: int | None
    starts_at: float | None
    reason: Reason
    detail: Mapping[str, Any]
    is_exact: bool = True

    @property
    def position_is(self) -> str | None:
        """Whether the position is ``exact`` or an ``estimate``; None without one."""
        if self.position is None:
            return None
        return "exact" if self.is_exact else "estimate"

    def public(self) -> dict[str, Any]:
        """The fields of a job's document, and of a ``queued`` message."""
        return {
            "position_is": self.position_is,
            "estimated_start_at": None if self.starts_at is None else rfc3339(self.starts_at),
            "waiting_for": {"reason": self.reason.value, **self.detail},
        }

    def message(self) -> dict[str, Any]:
        """The ``queued`` message. It is no entry and has no id."""
        return {"type": "queued", "position": self.position, **self.public()}

    def differs(self, told: Wait | None, now: float) -> bool:
        """Whether a client that was told another wait must be told this one. Small moves of the estimate do not count,
        because it changes with every look."""
        if told is None or (self.position, self.reason, self.detail) != (told.position, told.reason, told.detail):
            return True
        if self.starts_at is None or told.starts_at is None:
            return self.starts_at is not told.starts_at
        tolerance = max(_STEADY_S, _STEADY_SHARE * (told.starts_at - now))
        return abs(self.starts_at - told.starts_at) > tolerance


def wait_of(facts: QueueFacts, place: Place, max_running: int = 0, *, is_paused: bool = False) -> Wait:
    """The wait of a job in this place. ``max_running`` is its model's limit of running jobs; 0: none. ``is_paused``:
    no job of its model begins."""
    reason, detail = place.reason, dict(place.detail or {})
    if place.before is None:
        starts_at = detail.pop("until_s", None)
        if starts_at is not None:
            detail["until"] = rfc3339(starts_at)
        return Wait(None, starts_at, reason, detail)
    position, is_exact = facts.position(place.flow, place.here, place.before)
    is_exact = is_exact and place.is_exact
    if is_paused:
        return Wait(position, None, Reason.PAUSED, {}, is_exact)
    starts_at = _starts_at(facts, position)
    if not facts.workers:
        return Wait(position, None, Reason.NO_WORKER, {}, is_exact)
    if reason in (Reason.UPSTREAM, Reason.RATE_LIMIT):
        # Without ``until`` a few jobs are tried now.
        until_s = detail.pop("until_s", None)
        if until_s is not None:
            detail["until"] = rfc3339(until_s)
            starts_at = None if starts_at is None else max(starts_at, until_s)
    elif max_running and facts.running >= max_running:
        reason, detail = Reason.MODEL_FULL, {"running": facts.running, "limit": max_running}
    return Wait(position, starts_at, reason, detail, is_exact)


def place_of(job: Job, facts: QueueFacts) -> Place:
    """The place of a job that was just submitted: the last one of its flow, or the first with a near
    ``start_within_s``."""
    if job.queue_position is None and job.scheduling.not_before is not None:
        return Place(None, reason=Reason.NOT_BEFORE, detail={"until_s": job.scheduling.not_before})
    if job.queue_position is None and job.scheduling.conversation is not None:
        return Place(None, reason=Reason.CONVERSATION)
    flow = flow_of(job)
    here, jobs = (facts.batch if job.priority is Priority.BATCH else facts.interactive).place_of_new(flow)
    is_near = (job.scheduling.start_within_s or math.inf) <= NEAR_S
    return Place(0 if is_near else jobs, flow, here, is_exact=False)


def flow_of(job: Job) -> str:
    """The name of a job's flow, as the scripts make it (``lua/lib/fair.lua``)."""
    key = "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in job.scheduling.fairness_key.encode())
    return f"{job.priority.value}:{job.owner}:{key}"


def read_places(reply: Sequence[Any], ids: Sequence[str]) -> dict[str, Place]:
    """The places in a reply of ``look_queue.lua``, of the jobs that are queued."""
    return {job_id: _place(row) for job_id, row in zip(ids, reply[1:], strict=True) if row is not None}


def _place(row: Sequence[Any]) -> Place:
    reason, before, flow, here, *detail = row
    shown: dict[str, Any]
    match Reason(reason.decode()):
        case Reason.NOT_BEFORE:
            return Place(None, reason=Reason.NOT_BEFORE, detail={"until_s": _seconds(detail[0])})
        case Reason.CONVERSATION:
            return Place(None, reason=Reason.CONVERSATION, detail={"job": detail[0].decode(errors="replace")})
        case Reason.OWNER_LIMIT:
            shown = {"running": detail[0], "limit": detail[1], "scope": detail[2].decode()}
        case Reason.UPSTREAM:
            until_ms, status = detail
            shown = {"until_s": _seconds(until_ms)} if until_ms else {}
            shown |= {"status": status} if status else {}
        case Reason.RATE_LIMIT:
            shown = {"until_s": _seconds(detail[0]), "scope": detail[1].decode()}
        case _:
            shown = {}
    return Place(before, flow_name(flow), virtual_time(here), Reason(reason.decode()), shown)


def _seconds(milliseconds: bytes | float) -> float:
    """A time in seconds since the epoch, at most one that can be shown: the index that it is from may be damaged."""
    return min(max(0.0, float(milliseconds) / 1000), LAST_S)


def _starts_at(facts: QueueFacts, position: int) -> float | None:
    """The running jobs end one after the other, at the pace of the last ones."""
    if facts.run_s is None:
        return None
    return facts.at + (position + 1) * facts.run_s / max(1, facts.running)
