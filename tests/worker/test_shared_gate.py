"""One job's reports to the shared gate, and the claims when a model opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from spool.errors import StoreUnavailable
from spool.jobs.claims import Claim
from spool.jobs.closed_models import ClosedModels, Refusal
from tests.by_hand import claimed
from worker.shared_gate import AttemptGate, Reopening


class Models:
    """The closed models of a Redis that answers, or is away."""

    def __init__(self, *, is_away: bool = False) -> None:
        self.calls: list[str] = []
        self._is_away = is_away

    def refuse(self, _claim: Claim, reason: str, *, kind: str, **_more: Any) -> Refusal:
        """Note the report."""
        if self._is_away:
            raise StoreUnavailable("away")
        self.calls.append(f"{kind}: {reason}")
        return Refusal(is_own=False, retry_at=110.0, again_ms=0, refusals=1, wait_s=10.0)

    def accept(self, _claim: Claim) -> None:
        """Note the report."""
        if self._is_away:
            raise StoreUnavailable("away")
        self.calls.append("accepted")


class Later:
    """Functions that would run later."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, run: Callable[[], None]) -> None:
        self.due.append((seconds, run))


def gate_for(claim: Claim, *, is_away: bool = False) -> tuple[AttemptGate, Models, Later, list[str]]:
    """The gate of a claim, and what it calls."""
    later, claims, models = Later(), list[str](), Models(is_away=is_away)
    reopening = Reopening(lambda: claims.append("claim"), later)
    return AttemptGate(cast(ClosedModels, models), claim, reopening), models, later, claims


def test_accepted_probe_is_reported_once() -> None:
    """The first piece and the end of a probe's answer are one report, after which more jobs are claimed."""
    gate, models, later, claims = gate_for(claimed(probe="17"))
    gate.accepted()
    gate.accepted()
    assert models.calls == ["accepted"]
    for _seconds, run in later.due:
        run()
    assert claims == ["claim"]


def test_job_of_an_open_model_reports_nothing() -> None:
    """A job that began while its model was open costs no report when it is accepted."""
    gate, models, later, _claims = gate_for(claimed())
    gate.accepted()
    assert (models.calls, later.due) == ([], [])


def test_claim_when_the_model_opens() -> None:
    """Jobs that are refused until the same time share one claim, which comes just after it."""
    gate, models, later, claims = gate_for(claimed())
    for _ in range(3):
        gate.refused("HTTP 429", status=429, retry_after_s=10.0, answered_s=None)
    gate.exhausted("no requests left", reset_s=10.0)
    assert models.calls == ["refused: HTTP 429"] * 3 + ["exhausted: no requests left"]
    [(seconds, run)] = later.due
    assert 10.0 < seconds < 10.1
    run()
    assert claims == ["claim"]
    gate.suspected("HTTP 500", status=500)
    assert len(later.due) == 2


def test_report_while_redis_is_away() -> None:
    """A report that Redis does not take has no consequence: the job waits in its worker."""
    gate, _models, later, _claims = gate_for(claimed(probe="17"), is_away=True)
    assert gate.refused("HTTP 429", status=429, retry_after_s=None, answered_s=None) is None
    gate.accepted()
    assert later.due == []
