"""What a refused job does where all workers share the gate of its model: it goes back to the queue."""

from __future__ import annotations

from typing import Any

import pytest

from spool.deadline import Deadline
from spool.jobs.closed_models import Refusal
from spool.models.model import Model, Upstream
from tests.scripted_upstream import Call, Script, ScriptedUpstream, refuses, says
from worker.backends import BackendError, GenerationRequest, Piece, Text, UpstreamClosed
from worker.backends.openai.backend import OpenAICompatible
from worker.backends.openai.backoff import Backoff

MODEL = Model(name="small", backend="openai", upstream="gpu")
USER = ({"role": "user", "content": "hello"},)


class Gate:
    """A shared gate that notes what it is told."""

    def __init__(self, *, is_probe: bool = False, **refusal: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.is_probe = is_probe
        fields = {"is_own": False, "retry_at": 0.0, "again_ms": 0, "refusals": 1, "wait_s": 7.0, **refusal}
        self.refusal: Refusal | None = Refusal(**fields)

    def accepted(self) -> None:
        """Note it."""
        self.calls.append(("accepted",))

    def refused(
        self,
        _reason: str,
        *,
        status: int,
        retry_after_s: float | None,
        answered_s: float | None,
        has_failed: bool = False,
    ) -> Refusal | None:
        """Note it."""
        self.calls.append(("failed" if has_failed else "refused", status, retry_after_s, answered_s is not None))
        return self.refusal

    def suspected(self, _reason: str, *, status: int) -> None:
        """Note it."""
        self.calls.append(("suspected", status))

    def exhausted(self, reason: str, *, reset_s: float) -> None:
        """Note it."""
        self.calls.append(("exhausted", reason, reset_s))


def pieces(gate: Gate, *scripts: Script, deadline: Deadline | None = None) -> tuple[list[Piece], int]:
    """The pieces of one job's answer, and how many calls reached the upstream."""
    with ScriptedUpstream(*scripts) as upstream:
        backend = OpenAICompatible([Upstream(name="gpu", url=upstream.url)], backoff=Backoff(first_s=0.05))
        request = GenerationRequest("j1", MODEL, USER, deadline=deadline or Deadline.after(60.0), gate=gate)
        try:
            return list(backend.generate(request)), len(upstream.calls)
        finally:
            backend.close()
            assert len(upstream.calls) <= len(scripts)


@pytest.mark.parametrize(
    ("script", "status", "retry_after_s"),
    [
        (refuses(429), 429, None),
        (refuses(429, Retry_After="3"), 429, 3.0),
        (refuses(429, x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="4s"), 429, 4.0),
        (refuses(503), 503, None),
        (refuses(503, retry_after_ms="1500"), 503, 1.5),
        (refuses(502), 502, None),
    ],
    ids=["429", "429 with Retry-After", "429 with reset", "503", "503 with retry-after-ms", "502"],
)
def test_refused_job_goes_back_to_the_queue(script: Script, status: int, retry_after_s: float | None) -> None:
    """One call, one report, and the job is handed back; the upstream's wait is passed on."""
    gate = Gate(again_ms=12)
    with pytest.raises(UpstreamClosed) as caught:
        pieces(gate, script)
    assert gate.calls == [("refused", status, retry_after_s, False)]
    assert gate.refusal is not None
    assert (caught.value.retry_at, caught.value.again_ms) == (gate.refusal.retry_at, 12)


def test_job_that_would_be_tried_after_its_deadline() -> None:
    """A job fails at once if its model opens only after its deadline."""
    with pytest.raises(BackendError) as caught:
        pieces(Gate(), refuses(429), deadline=Deadline.after(2.0))
    assert (caught.value.code, caught.value.upstream) == ("upstream_unavailable", {"status": 429, "type": "error"})


def test_prompt_that_has_used_its_tries() -> None:
    """A prompt for which the upstream is away while it answers others fails after eight tries."""
    with pytest.raises(BackendError) as caught:
        pieces(Gate(is_own=True, refusals=8), refuses(503))
    assert (caught.value.code, caught.value.upstream) == ("upstream_failed", {"status": 503, "type": "error"})
    with pytest.raises(UpstreamClosed):
        pieces(Gate(is_own=True, refusals=7), refuses(503))


def test_failed_call_of_a_job_that_is_tried() -> None:
    """A 500 sends a job that is tried while its model is closed back to the queue; any other one waits here."""
    gate = Gate(is_probe=True)
    with pytest.raises(UpstreamClosed):
        pieces(gate, refuses(500))
    assert gate.calls == [("failed", 500, None, False)]
    gate = Gate()
    assert pieces(gate, refuses(500), says("x"))[1] == 2
    assert set(gate.calls) == {("accepted",)}


def test_report_that_fails() -> None:
    """While Redis is away, the job waits in its worker and is tried again."""
    gate = Gate()
    gate.refusal = None
    found, calls = pieces(gate, refuses(429), says("x"))
    assert Text("x") in found
    assert calls == 2


def test_accepted_job() -> None:
    """The first piece of an answer is reported."""
    gate = Gate()
    pieces(gate, says("a", "b"))
    assert gate.calls[0] == ("accepted",)


def test_rejected_prompt_counts_as_accepted() -> None:
    """An upstream that rejects a prompt does not refuse the model's other jobs."""
    gate = Gate()
    with pytest.raises(BackendError):
        pieces(gate, refuses(400))
    assert gate.calls == [("accepted",)]


def test_upstream_without_capacity_for_others() -> None:
    """An answer whose headers say that nothing is left for others closes the model, and is complete nevertheless."""

    def script(call: Call) -> None:
        limits = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2s"}
        call.begin(200, {"Content-Type": "text/event-stream", **limits})
        call.text("x")
        call.done()

    gate = Gate()
    assert Text("x") in pieces(gate, script)[0]
    assert gate.calls[0] == ("exhausted", "the upstream has no tokens left", 2.0)
