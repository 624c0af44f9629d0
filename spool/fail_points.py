"""Fail points: named places between two steps, where a test can kill, stop or block this process, or lose an answer.

For tests only. Off unless ``SPOOL_FAIL_POINT`` is set; it is read once, when this module is imported:

    append.answered:3:kill          SIGKILL for this process, at the third pass
    claim.*:1:stop                  SIGSTOP, at the first pass of any of these points
    append.gathered:1:block=2.5     sleep 2.5 s without yielding, which blocks the whole hub
    keep.answered:1:raise           lose Redis's answer, if there is one at this point
    append.*:p=0.02:seed=7:raise    at each pass with this probability, drawn from this seed

A counted action, and each ``kill`` and ``stop``, happens only once, even if the parent restarts a forked process. Each
action is reported on standard error, with the pid.
"""

from __future__ import annotations

import mmap
import os
import random
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gevent import monkey
from redis.exceptions import ConnectionError as ConnectionLost

from spool.errors import OutcomeUnknown, SettingsError

VARIABLE = "SPOOL_FAIL_POINT"


@dataclass(frozen=True, slots=True)
class Point:
    """A fail point: its file, and the completed and the pending step around it. ``lost`` is the error of a lost answer,
    if a call to Redis comes right before it."""

    file: str
    between: str
    lost: type[Exception] | None = None


POINTS: Mapping[str, Point] = {
    "submit.before": Point("web/intake/accept.py", "the request is checked; nothing is written"),
    "submit.written": Point("web/intake/accept.py", "the job is in Redis; no bell has rung", OutcomeUnknown),
    "submit.rung": Point("web/intake/accept.py", "the bell is rung, or soon will be; the client has no answer"),
    "batch.staged": Point("spool/batches/store.py", "some lines of a batch are staged; others are not read yet"),
    "batch.before": Point("spool/batches/store.py", "all lines of a batch are checked; it does not exist"),
    "batch.created": Point("spool/batches/store.py", "a batch is in Redis; none of its lines is a job", OutcomeUnknown),
    "batch.adding": Point("spool/batches/pieces.py", "the lines for an open batch are checked; none is added"),
    "batch.added": Point("spool/batches/pieces.py", "the lines are added; the client has no answer", OutcomeUnknown),
    "batch.feeding": Point("spool/batches/feeder.py", "some lines are read; they are no jobs"),
    "batch.fed": Point("spool/batches/feeder.py", "some lines are jobs; no bell has rung", OutcomeUnknown),
    "bell.heard": Point("worker/process.py", "the bell is acknowledged; nothing is claimed"),
    "claim.before": Point("worker/claiming.py", "the fence is chosen; Redis is not asked"),
    "claim.answered": Point(
        "worker/claiming.py", "the job runs in Redis; this process does not know it", OutcomeUnknown
    ),
    "claim.begun": Point("worker/runner.py", "the attempt is registered here; its job has not begun"),
    "piece.written": Point("worker/attempt.py", "a piece is in the attempt's log; it is not sent"),
    "append.gathered": Point("worker/appender.py", "a commit is gathered; it is not sent"),
    "append.answered": Point("worker/appender.py", "a commit is in Redis; its answer is not recorded", OutcomeUnknown),
    "finish.gathered": Point("worker/attempt_log.py", "the end is gathered for a commit; it is not sent"),
    "finish.answered": Point("worker/attempt_log.py", "the end is in Redis; that is not recorded"),
    "hand_back.before": Point("worker/attempt.py", "all is flushed; the job is not handed back"),
    "hand_back.answered": Point("worker/attempt.py", "the job is handed back; that is not recorded", OutcomeUnknown),
    "adopt.before": Point("worker/ownership.py", "a claim is known to be lost; it is not adopted"),
    "adopt.answered": Point("worker/ownership.py", "the claim is adopted; nothing is resent", OutcomeUnknown),
    "heartbeat.before": Point("worker/heartbeat.py", "a beat is due; it is not sent"),
    "heartbeat.answered": Point(
        "worker/heartbeat.py", "leases are renewed; the answers are not handled", OutcomeUnknown
    ),
    "keep.before": Point("spool/jobs/keeper.py", "a round is due; nothing is done"),
    "keep.answered": Point("spool/jobs/keeper.py", "the round is done; no bell has rung for it", OutcomeUnknown),
    "keep.bell": Point("spool/jobs/keeper.py", "one of the round's bells is rung; the next is not"),
    "pack.taken": Point("spool/jobs/packer.py", "logs to pack are leased; none is read", OutcomeUnknown),
    "pack.before": Point("spool/jobs/packer.py", "a log is packed; Redis has the stream"),
    "pack.answered": Point("spool/jobs/packer.py", "the packed log is in Redis; nothing else is done", OutcomeUnknown),
    "pack_batch.staged": Point(
        "spool/jobs/batch_packer.py", "a piece of a packed log is staged; no reader finds it", OutcomeUnknown
    ),
    "pack_batch.before": Point("spool/jobs/batch_packer.py", "a batch's packed log is staged; its log is the stream"),
    "pack_batch.answered": Point(
        "spool/jobs/batch_packer.py", "a batch's packed log is in its place; nothing else is done", OutcomeUnknown
    ),
    "delivery.taken": Point("spool/webhooks/deliverer.py", "deliveries are leased; none is sent"),
    "delivery.sent": Point("spool/webhooks/deliverer.py", "a receiver has answered; that is not recorded"),
    "link.sent": Point("spool/redis/link.py", "any call is sent to Redis; its answer is not read", ConnectionLost),
}
"""All fail points. ``tests/spool/test_fail_points.py`` checks the code against this list."""

_FORM = re.compile(
    r"(?P<name>[a-z_]+\.[a-z_]+|[a-z_]+\.\*|\*):(?:(?P<count>[1-9][0-9]{0,6})|p=(?P<p>[01]?\.[0-9]+|1):seed=(?P<seed>[0-9]+))"
    r":(?:(?P<action>kill|stop|raise)|block=(?P<block_s>[0-9]{1,3}(?:\.[0-9]+)?))"
)


@dataclass(slots=True)
class FailPoint:
    """The action that one value of the variable requests."""

    names: frozenset[str]
    action: str
    at: int = 0
    """The pass at which it happens; 0: by chance."""
    chance: float = 0.0
    draw: random.Random = field(default_factory=random.Random)
    block_s: float = 0.0
    _reached: int = 0
    # Shared with forks: gunicorn restarts a process that it lost, and the new process must pass this point.
    _happened: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 1))

    @classmethod
    def parse(cls, value: str) -> FailPoint:
        """Parse a value of the form above. Raises ``SettingsError`` for any other value."""
        match = _FORM.fullmatch(value)
        if match is None:
            raise SettingsError(f"{VARIABLE}={value!r} is not POINT:COUNT:ACTION or POINT:p=P:seed=N:ACTION")
        action = match["action"] or "block"
        found = frozenset(name for name in POINTS if _fits(name, match["name"]))
        if not found:
            raise SettingsError(f"{VARIABLE}={value!r}: no such point; use one of {', '.join(POINTS)}")
        names = frozenset(name for name in found if action != "raise" or POINTS[name].lost is not None)
        if not names:
            raise SettingsError(f"{VARIABLE}={value!r}: there is no answer of Redis to lose at this point")
        return cls(
            names=names,
            action=action,
            at=int(match["count"] or 0),
            chance=float(match["p"] or 0),
            draw=random.Random(int(match["seed"] or 0)),
            block_s=float(match["block_s"] or 0),
        )

    def reach(self, point: str) -> None:
        """Pass ``point``, and act if the action is due."""
        if point not in self.names or (self._happened[0] and self._once):
            return
        self._reached += 1
        due = self._reached == self.at if self.at else self.draw.random() < self.chance
        if due:
            self._happened[0] = 1
            self._act(point)

    @property
    def _once(self) -> bool:
        return bool(self.at) or self.action in ("kill", "stop")

    def _act(self, point: str) -> None:
        os.write(2, f"fail point {point}: {self.action} {os.getpid()}\n".encode())
        lost = POINTS[point].lost
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.action == "block":
            monkey.get_original("time", "sleep")(self.block_s)
        elif lost is not None:
            raise lost(f"fail point {point}: the answer is lost")


def _fits(name: str, pattern: str) -> bool:
    return pattern in (name, "*") or (pattern.endswith(".*") and name.startswith(pattern[:-1]))


def _off(_point: str) -> None:
    """Do nothing: no fail point is set."""


def armed(environ: Mapping[str, str]) -> Callable[[str], None]:
    """The function ``reach`` for this environment."""
    value = environ.get(VARIABLE, "")
    return FailPoint.parse(value).reach if value else _off


reach: Callable[[str], None] = armed(os.environ)
"""``reach("append.answered")`` marks a fail point in the code."""
