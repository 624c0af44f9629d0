"""Spans, and the collector to which they go."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import pytest

from spool.tracing import Span, Tracing, is_wanted
from tests.test_architecture import ROOT, imported_at_start
from tests.trace_collector import Collector, running_collector

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the environment names."""
    with running_collector() as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        yield running


def started() -> Tracing:
    """Tracing that is on."""
    tracing = Tracing()
    tracing.start("web", "host/web:1")
    assert tracing.is_on
    return tracing


def test_programs_do_not_import_the_library_at_their_start() -> None:
    """No program loads OpenTelemetry unless its environment names a collector: one module uses it, when it is on."""
    files = [path for package in ("spool", "web", "worker") for path in (ROOT / package).rglob("*.py")]
    using = [path for path in files if "from opentelemetry" in path.read_text(encoding="utf-8")]
    assert [str(path.relative_to(ROOT)) for path in using] == ["spool/tracing.py"]
    assert not {name for name in imported_at_start("spool.tracing") if name.startswith("opentelemetry")}


def test_span_that_is_not_recorded_passes_its_parent_on() -> None:
    """Without a collector in the environment, the children of a span are those of its parent."""
    tracing = Tracing()
    tracing.start("web", "host/web:1")
    span = tracing.begin("submit", PARENT)
    span.event("x")
    span.set({"a": 1})
    span.end("broken")
    assert (type(span), span.traceparent) == (Span, PARENT)


def test_spans_reach_the_collector(collector: Collector) -> None:
    """A span and its child arrive with their parents, times, attributes, events and errors."""
    tracing = started()
    span = tracing.begin("submit", PARENT, kind="PRODUCER", at_s=10.0, attributes={"a": 1, "b": None})
    child = tracing.begin("attempt", span.traceparent)
    child.event("first_token")
    child.end("timeout")
    child.end("again")
    span.end(at_s=12.5)
    tracing.stop()
    parent, other = collector.spans
    assert (parent.trace, parent.parent, parent.name, parent.kind) == (TRACE, CALLER, "submit", 4)
    assert (parent.begin, parent.end, parent.attributes) == (10 * 10**9, 12_500_000_000, {"a": 1})
    assert (other.trace, other.parent, other.error, other.events) == (TRACE, parent.id, "timeout", ("first_token",))
    assert parent.service == "spool-web"
    assert not tracing.is_on


@pytest.mark.parametrize("parent", ["", "00-xyz", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"], ids=["no", "odd", "zero"])
def test_span_without_a_valid_parent(collector: Collector, parent: str) -> None:
    """It is the first of a new trace."""
    tracing = started()
    tracing.begin("submit", parent).end()
    tracing.stop()
    (span,) = collector.spans
    assert span.parent == ""


def test_trace_that_its_caller_does_not_sample(collector: Collector) -> None:
    """Nothing of it is sent, and its id and flag are passed on."""
    tracing = started()
    span = tracing.begin("submit", PARENT[:-2] + "00")
    span.end()
    tracing.stop()
    assert span.traceparent.startswith(f"00-{TRACE}-")
    assert span.traceparent.endswith("-00")
    assert collector.spans == []


def test_names_of_the_operator_win(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """``OTEL_SERVICE_NAME`` replaces the name of the program."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat")
    tracing = started()
    tracing.begin("submit", "").end()
    tracing.stop()
    assert collector.spans[0].service == "chat"


@pytest.mark.parametrize(
    ("environ", "wanted", "warns"),
    [
        ({}, False, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True, ""),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True, ""),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True, ""),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False, ""),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False, ""),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, False, "OTEL_TRACES_EXPORTER='zipkin'"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            False,
            "OTEL_EXPORTER_OTLP_PROTOCOL='grpc'",
        ),
    ],
    ids=["unset", "endpoint", "traces-endpoint", "exporter", "none", "disabled", "other-exporter", "grpc"],
)
def test_variables_that_ask_for_traces(
    environ: Mapping[str, str], wanted: bool, warns: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Traces are on if a variable names a collector or the exporter; what Spool cannot do is logged."""
    with caplog.at_level(logging.WARNING):
        assert is_wanted(environ) is wanted
    assert (warns in caplog.text) if warns else not caplog.text


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_BSP_SCHEDULE_DELAY", "abc", "OTEL_BSP_SCHEDULE_DELAY='abc' is not a whole number above 0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE='0' is not a whole number above 0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5000", "max_export_batch_size must be less than"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "abc", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Bearer s3cret", "OTEL_EXPORTER_OTLP_HEADERS is not a list"),
    ],
    ids=["no-number", "zero", "batch-above-queue", "limit", "header"],
)
@pytest.mark.usefixtures("collector")
def test_variable_that_the_library_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: str,
    said: str,
) -> None:
    """The process starts without traces, and the log has one line, which names the variable and no secret."""
    monkeypatch.setenv(name, value)
    tracing = Tracing()
    tracing.start("web", "host/web:1")
    (line,) = caplog.records
    assert line.getMessage().startswith("no traces: ")
    assert said in line.getMessage()
    assert not line.exc_info
    assert "s3cret" not in caplog.text
    assert not tracing.is_on


def test_small_queue_and_headers_are_accepted(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that is smaller than an export by default makes the exports smaller; a token is a header's value."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x==,x-tenant = spool")
    tracing = started()
    tracing.begin("submit", "").end()
    tracing.stop()
    assert len(collector.spans) == 1
