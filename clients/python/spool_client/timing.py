"""How long the client waits, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """The defaults suit people and networks; tests use shorter ones."""

    connect_s: float = 5.0
    request_s: float = 10.0
    """Silence within a plain request."""
    batch_s: float = 60.0
    """Silence while the server writes or cancels all jobs of a batch."""
    whole_s: float = 120.0
    """A plain request from its start to the end of its answer."""
    look_s: float = 4.0
    """A request for the job's record while in doubt."""
    silence_s: float = 2.5
    """Silence on a stream before the record is asked. It doubles to ``silence_most_s`` while the record agrees."""
    silence_most_s: float = 20.0
    """More than the server's heartbeat of 15 s."""
    long_wait_s: int = 25
    """Of one long poll."""
    poll_s: float = 1.0
    """Between two short polls, growing to ``poll_most_s`` while nothing comes."""
    poll_most_s: float = 4.0
    retry_s: float = 0.25
    """Before a reconnect, growing to ``retry_most_s``, and to ``outage_most_s`` after a minute without an answer."""
    retry_most_s: float = 2.5
    outage_most_s: float = 15.0
    climb_s: float = 60.0
    """Between two tries of a better transport, doubling to ``climb_most_s``."""
    climb_most_s: float = 1800.0
    repeat_s: float = 60.0
    """How long a call is repeated until it has an answer."""
