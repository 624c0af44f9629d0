"""Signed paths of the calls of one job or batch. Each stands for the caller that made it, and for one call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, NotRequired

from typing_extensions import TypedDict

from spool.access.caller import Caller, Kind
from spool.access.grants import Grant
from spool.jobs.entries import rfc3339
from spool.jobs.job import Job
from web.access.shown import LINK_ARGUMENT
from web.access.signer import Signer

_AFTER_THE_END_S = 3600
"""The life of links of a job that has ended, and the least of any without ``ttl_s``."""
JobCall = Literal["stream", "ws", "entries", "cancel"]
_UNSEEN_AT_MOST_S = 86_400
"""The longest life of a link of a caller whose own end is not seen here: of a JWT's, or of one that a proxy names."""
READING: tuple[JobCall, ...] = ("stream", "ws", "entries")


class JobLinks(TypedDict):
    """Signed paths of a job's calls. Each link is for one call; ``stream`` and ``ws`` go on to the job's end."""

    stream: NotRequired[str]
    ws: NotRequired[str]
    entries: NotRequired[str]
    cancel: NotRequired[str]
    expires_at: str


def job_links(signer: Signer, caller: Caller, job: Job, wanted: Sequence[str] = READING, ttl_s: int = 0) -> JobLinks:
    """Links to the job's calls, which stand for this caller. Raises ``StoreUnavailable``."""
    now = time.time()
    by_default = now + _AFTER_THE_END_S if job.ended else max(job.deadline_at, now + _AFTER_THE_END_S)
    expires_at = link_end(caller, now + ttl_s if ttl_s else by_default)
    links = {
        call: signed_path(signer, caller, f"/jobs/{job.id}/{call}", call, expires_at, job=job.id) for call in wanted
    }
    return {**links, "expires_at": rfc3339(expires_at)}  # type: ignore[typeddict-item]


def link_end(caller: Caller, asked: float) -> int:
    """When a link ends that is asked for until then: both are seconds since the epoch."""
    if (caller.parent or caller.kind) in (Kind.JWT, Kind.PROXY):
        asked = min(asked, time.time() + _UNSEEN_AT_MOST_S)
    return int(asked)


def signed_path(signer: Signer, caller: Caller, path: str, call: str, expires_at: int, **inside: str) -> str:
    grant = Grant(
        kind=Kind.LINK,
        owner=caller.owner,
        expires_at=expires_at,
        parent=caller.parent or caller.kind,
        credential=caller.credential,
        binding=signer.binding(caller),
        allows=(call,),
        **inside,
    )
    return f"{path}?{LINK_ARGUMENT}={signer.sign(grant)}"
