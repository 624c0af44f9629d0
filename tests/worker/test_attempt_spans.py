"""The spans of an attempt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spool.jobs.origin import Origin
from spool.tracing import tracing
from tests.by_hand import claimed
from tests.trace_collector import Collector, running_collector
from worker.attempt_events import AttemptEvents

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector to which this process sends."""
    with running_collector() as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        tracing.start("worker", "host/worker")
        yield running
        tracing.stop()


def test_attempt_that_succeeds(collector: Collector) -> None:
    """The wait, the attempt and the call of the model, with the tokens; the upstream's parent is the call."""
    events = AttemptEvents(claimed(origin=Origin("r1", PARENT)))
    events.claimed()
    sent = events.calls("")["traceparent"]
    events.first_token()
    events.ended("succeeded", {"finish_reason": "stop"}, {"input_tokens": 7, "output_tokens": 9})
    tracing.stop()
    assert dict(collector.tree()) == {
        "queue": PARENT.split("-")[2],
        "attempt": PARENT.split("-")[2],
        "chat demo": "attempt",
    }
    spans = {span.name: span for span in collector.spans}
    call = spans["chat demo"]
    assert sent == f"00-{call.trace}-{call.id}-01"
    assert call.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "spool.demo",
        "gen_ai.request.model": "demo",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 9,
    }
    assert call.events == ("first_token",)
    assert spans["attempt"].attributes["spool.outcome"] == "succeeded"
    assert spans["attempt"].attributes["spool.request.id"] == "r1"


def test_words_of_others_are_in_no_span(collector: Collector) -> None:
    """A failed attempt's spans have its code, not the message of the upstream, which may repeat the prompt."""
    events = AttemptEvents(claimed(origin=Origin("r1", PARENT)))
    events.claimed()
    events.calls("embeddings")
    events.waits("429: secret", 1.0)
    events.ended("failed", {"error": {"code": "upstream_error", "message": "secret"}}, None)
    tracing.stop()
    assert {span.name: span.error for span in collector.spans} == {
        "queue": "",
        "attempt": "upstream_error",
        "embeddings demo": "upstream_error",
    }
    assert not any(b"secret" in each.body for each in collector.receiver.received)


def test_lost_attempt_sends_no_span(collector: Collector) -> None:
    """The keeper that found the lease lost has sent its span."""
    events = AttemptEvents(claimed(origin=Origin("r1", PARENT), attempt=2))
    events.claimed()
    events.over("lost")
    tracing.stop()
    assert collector.spans == []
