"""Events of an owner: what happens to its jobs and batches, as a log that is read like a job's.

The scripts that change a job's state write its events (``lua/lib/events.lua``), but only for owners that someone reads:
``watch`` begins that, and it goes on for ``KEPT_S`` after the last call. So events cost nothing where none are read.
"""

from __future__ import annotations

from collections.abc import Sequence

from spool.jobs.job import Job, Status
from spool.jobs.scripts import script
from spool.keys import EVENTS, HOME
from spool.keys import job as job_key
from spool.redis.errors import REFUSED_WRITES
from spool.redis.link import RedisLink

KEPT_S = 3600


def log_of_events(owner: str) -> str:
    """The name of the log of an owner's events, in the place of a job's id."""
    return f"{EVENTS}{owner}"


def owner_of_events(log_id: str) -> str | None:
    """The owner whose events this log has; None for the log of a job or a batch."""
    return log_id.removeprefix(EVENTS) if log_id.startswith(EVENTS) else None


def watch(link: RedisLink, owners: Sequence[str]) -> list[int]:
    """Keep the events of these owners for ``KEPT_S`` from now, and begin to write those that are not written yet.
    Returns the id of each owner's last event. Raises ``StoreUnavailable``."""
    last: list[int] = link.run(script("watch_events"), HOME, KEPT_S * 1000, *owners)
    return last


def begin(link: RedisLink, owner: str) -> int:
    """Keep the owner's events from now on. Returns the id of the last one. Where they are kept already, a server that
    refuses writes is no hindrance: it has no new ones. Raises ``StoreUnavailable``."""
    try:
        (last,) = watch(link, [owner])
    except REFUSED_WRITES:
        stored = link.call("HGET", job_key(log_of_events(owner)), "last")
        if not stored or not stored.isdigit():
            raise
        return int(stored)
    return last


def events_as_log(owner: str, last: int) -> Job:
    """What followers of an owner's events need, in the shape of a job. ``last`` is the id of the last event."""
    return Job(
        id=log_of_events(owner),
        status=Status.RUNNING,
        owner=owner,
        model="",
        created_at=0.0,
        deadline_at=0.0,
        last_entry=last,
    )
