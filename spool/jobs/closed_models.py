"""Models that are closed because their upstream refuses them, shared by all workers.

While a model is closed its jobs wait in the queue. One of them is tried at a time, and more with each that the upstream
accepts, until the model is open again (``lua/refuse.lua``, ``lua/accept.lua``, ``lua/lib/limits.lua``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from spool.jobs.claims import Claim
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shards

RefusalKind = Literal["refused", "failed", "suspected", "exhausted"]
"""``refused``: the upstream refused a job. ``failed``: the call of a job that is tried failed, perhaps because of its
prompt. ``suspected``: calls of several jobs failed in a row. ``exhausted``: the upstream's headers say that it has no
capacity left."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What follows a refusal of a job.

    ``is_own``: it concerns this job alone. ``retry_at``: when jobs of the model, or this one, may be tried again, in
    seconds since the epoch by Redis's clock; ``wait_s``: in how many seconds that is, whatever this machine's clock
    says. ``again_ms``: until when other jobs are tried before this one, ms; 0: it keeps its place.
    ``refusals``: how often the job was refused.
    """

    is_own: bool
    retry_at: float
    again_ms: int
    refusals: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class ClosedModel:
    """Why and until when a model is closed. Times are seconds since the epoch.

    ``until`` may have passed: then a few jobs are tried. ``status``: of the upstream's last answer, None without one.
    """

    name: str
    since: float
    until: float
    reason: str
    status: int | None


class ClosedModels:
    """Reports of workers about upstreams, and the models that are closed now. Raises ``StoreUnavailable``."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def refuse(
        self,
        claim: Claim,
        reason: str,
        *,
        kind: RefusalKind = "refused",
        status: int = 0,
        retry_after_s: float | None = None,
        answered_s: float | None = None,
    ) -> Refusal:
        """Report a refusal of the claim's model. ``answered_s``: the age of this worker's last complete answer."""
        args = arguments(
            "refuse",
            model=claim.job.model,
            id=claim.job.id,
            fence=claim.fence,
            epoch=claim.probe,
            kind=kind,
            status=status,
            reason=reason,
            retry_after_ms=_ms(retry_after_s),
            answered_ms=_ms(answered_s),
        )
        is_own, retry_ms, again_ms, refusals, wait_ms = self._shards.of_job(claim.job.id).run(script("refuse"), *args)
        return Refusal(bool(is_own), retry_ms / 1000, again_ms, refusals, wait_ms / 1000)

    def accept(self, claim: Claim) -> None:
        """Report that the upstream of a closed model accepted the claim's job, so that more jobs of it may begin."""
        args = arguments("accept", model=claim.job.model, id=claim.job.id, epoch=claim.probe)
        self._shards.of_job(claim.job.id).run(script("accept"), *args)

    def look(self) -> dict[str, ClosedModel]:
        """The models that are closed now, by name."""
        found: dict[str, ClosedModel] = {}
        for shard in self._shards:
            for model in _read(shard.run(script("closed_models"))):
                if model.name not in found or model.until > found[model.name].until:
                    found[model.name] = model
        return found


def _read(reply: list[list[bytes]]) -> Iterable[ClosedModel]:
    for name, since_ms, until_ms, reason, status in reply:
        yield ClosedModel(
            name=name.decode(),
            since=int(since_ms) / 1000,
            until=int(until_ms) / 1000,
            reason=reason.decode(errors="replace"),
            status=int(status) or None,
        )


def _ms(seconds: float | None) -> int:
    return -1 if seconds is None else math.ceil(seconds * 1000)
