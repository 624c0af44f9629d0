"""Which answer of a chat a resume gets: one that runs, or that has ended a short time ago.

The AI SDK resumes without a cursor. It asks after a lost connection, when the rest of the answer may already be there,
and whenever a page with ``resume`` is loaded, mostly long after the end. A client that names the answer that it has to
its end gets no replay of it. The id of a message that several answers continue names none of them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spool.jobs.job import Job
from web.arguments import Query

REPLAY_S = 300
"""Seconds after its end for which an answer is still streamed."""


class Resumption(Query):
    """What the client has."""

    has: Annotated[str, Field(max_length=200)] | None = Field(
        None,
        description="The answer that the client has to its end, by its job or by the message that it began. It is not "
        "streamed once it has ended.",
    )


def is_resumable(job: Job, now: float) -> bool:
    """Whether a resume at ``now``, in seconds since the epoch, may get this answer."""
    return job.ended_at is None or now - job.ended_at < REPLAY_S
