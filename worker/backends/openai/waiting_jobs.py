"""The jobs that wait at a gate, and which of them calls next: the probe of the upstream.

It is the job with the fewest failures, then one of the owner whose last probe is the longest ago, then the oldest or
the newest in turn. So the probes are not limited to one job, to one owner's jobs, or to the oldest jobs.
"""

from __future__ import annotations

from itertools import count

_NUMBERS = count(1)


class Caller:
    """One job at the gate, over all its calls."""

    __slots__ = ("answered_then", "failures", "is_admitted", "job", "number", "owner")

    def __init__(self, job: str = "", owner: str = "", *, is_admitted: bool = False) -> None:
        self.job = job
        self.owner = owner
        self.is_admitted = is_admitted
        """Whether the shared gate has let it through, so that it waits here only after failures of its own."""
        self.failures = 0
        self.answered_then = 0
        """The gate's ``answered`` when its last call was refused."""
        self.number = next(_NUMBERS)


class WaitingJobs:
    """The waiting jobs of one gate, which holds its lock around every call."""

    def __init__(self) -> None:
        self._waiting: set[Caller] = set()
        self._next: Caller | None = None
        """None if it must be chosen again."""
        self._probed: dict[str, int] = {}
        """Owner → number of its last probe."""

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, caller: Caller) -> None:
        """One more job waits."""
        self._waiting.add(caller)
        self._next = None

    def leave(self, caller: Caller) -> None:
        """The job waits no longer."""
        self._waiting.discard(caller)
        self._next = None

    def reorder(self) -> None:
        """Choose the next job again, after a change of failures or of the gate's epoch."""
        self._next = None

    @property
    def is_chosen(self) -> bool:
        """Whether the next job is known."""
        return self._next is not None

    def next(self, epoch: int) -> Caller:
        """The job that calls next. ``epoch``: how often the gate has closed."""
        if self._next is None:
            self._next = min(self._waiting, key=lambda caller: self._rank(caller, epoch))
        return self._next

    def record_probe(self, caller: Caller) -> None:
        """Let other owners' jobs go first after this one."""
        self._probed[caller.owner] = next(_NUMBERS)

    def forget_probes(self) -> None:
        """Start again with every owner equal: the gate is wide open."""
        self._probed.clear()

    def _rank(self, caller: Caller, epoch: int) -> tuple[int, int, int]:
        # Alternate between oldest and newest: a job that would succeed may wait behind many failing ones, or before.
        number = caller.number if epoch % 2 else -caller.number
        return caller.failures, self._probed.get(caller.owner, 0), number
