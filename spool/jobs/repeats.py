"""Repeated requests: a request that a client sends again gets the job of its first try, without an Idempotency-Key.

Clients that count their tries say 0 at first. Such a try always makes a job, and its key names that job from then on.
So two equal requests that are both meant make two jobs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Joins(enum.StrEnum):
    """The jobs that a request may get instead of a new one, if they have its key."""

    NONE = "none"
    """It is a first try."""
    RUNNING = "running"
    """A job that has not ended."""
    RECENT = "recent"
    """A job that has not ended, or ended less than a quarter of an hour ago."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """What tells that two requests are tries of one: ``key`` is a digest of the route and the body."""

    key: str
    joins: Joins
