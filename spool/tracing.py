"""Traces: the spans of this process, sent by OTLP to the collector that the ``OTEL_…`` variables name.

Without such a variable nothing of OpenTelemetry is imported, and a span only passes its parent's place on. The library
comes with the extra ``otel``; endpoint, headers, sampler, limits and resource are its own variables. A span has no text
of a caller or an upstream, no secret and no owner.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import spool

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_BATCH = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_BATCH_SPANS = 16
"""Spans of one export by default. The library encodes a batch without a pause, about 0.6 ms for each span, in which no
token moves."""
_NUMBERS = (_BATCH, "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT")
_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_HEADER = re.compile(r"[^\s=:]+ *= *[\x20-\x7e]*")
_STOP_S = 2.0
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

Value = str | int | float | bool | Sequence[str]
log = logging.getLogger("spool.tracing")


class Span:
    """A span that is not recorded. ``traceparent`` is the place of its children: that of its parent."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str = "") -> None:
        self.traceparent = traceparent

    def set(self, attributes: Mapping[str, Value | None]) -> None:
        """Set these attributes, without those that are None."""

    def event(self, name: str) -> None:
        """Add an event that happens now."""

    def end(self, error: str = "", at_s: float | None = None) -> None:
        """End the span, now or at ``at_s`` (seconds since the epoch), unless it has ended. ``error`` is the code of a
        failure."""


class _Recorded(Span):
    """A span of the library."""

    __slots__ = ("_span",)

    def __init__(self, span: Any) -> None:
        context = span.get_span_context()
        super().__init__(f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}")
        self._span = span

    def set(self, attributes: Mapping[str, Value | None]) -> None:
        self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def event(self, name: str) -> None:
        self._span.add_event(name)

    def end(self, error: str = "", at_s: float | None = None) -> None:
        from opentelemetry.trace import Status, StatusCode

        if not self._span.is_recording():
            return
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end(None if at_s is None else _ns(at_s))


class Tracing:
    """The traces of one process; off until ``start``."""

    def __init__(self) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Any = None

    @property
    def is_on(self) -> bool:
        """Whether spans are recorded."""
        return self._tracer is not None

    def start(self, program: str, instance: str) -> None:
        """Record spans from now on, if the environment names a collector. Call it after the last fork. Logs a warning
        if the library is missing or refuses a variable, or the environment asks for another exporter; never raises."""
        if not is_wanted(os.environ):
            return
        if wrong := wrong_variable(os.environ):
            log.warning("no traces: %s", wrong)
            return
        try:
            self._provider = _provider(program, instance)
        except ImportError:
            log.warning("no traces: install the extra: pip install 'spool-server[otel]'")
            return
        except Exception as exc:  # noqa: BLE001 - no variable of an extra may keep a process from its jobs
            log.warning("no traces: OpenTelemetry refuses its OTEL_ variables: %s", exc)
            return
        self._tracer = self._provider.get_tracer("spool", spool.__version__)

    def stop(self) -> None:
        """Record no more spans, and send the recorded ones, for two seconds at most."""
        provider, self._provider, self._tracer = self._provider, None, None
        if provider is not None:
            # The library would wait for a collector that does not answer, for as long as its own retries last.
            stopping = threading.Thread(target=provider.shutdown, daemon=True)
            stopping.start()
            stopping.join(_STOP_S)

    def begin(
        self,
        name: str,
        parent: str,
        *,
        kind: str = "INTERNAL",
        at_s: float | None = None,
        attributes: Mapping[str, Value | None] | None = None,
    ) -> Span:
        """A span that begins now, or at ``at_s`` (seconds since the epoch). ``parent`` is a ``traceparent``; empty or
        invalid: the span is the first of a trace. ``kind`` is a name of ``SpanKind``."""
        if self._tracer is None:
            return Span(parent)
        from opentelemetry.trace import SpanKind

        given = {name: value for name, value in (attributes or {}).items() if value is not None}
        started = _ns(time.time() if at_s is None else at_s)
        span = self._tracer.start_span(name, _context(parent), SpanKind[kind], given, start_time=started)
        return _Recorded(span)


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the variables ask for traces by OTLP. Logs a warning if they ask for an exporter that Spool lacks."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environ.get("OTEL_TRACES_EXPORTER", "").replace(" ", "").lower()
    if exporters not in ("", "otlp", "none"):
        log.warning("no traces: OTEL_TRACES_EXPORTER=%r is not supported; use otlp or none", exporters)
        return False
    if exporters == "none" or not (exporters or any(environ.get(name) for name in _ENDPOINTS)):
        return False
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        log.warning("no traces: OTEL_EXPORTER_OTLP_PROTOCOL=%r is not supported; use http/protobuf", protocol)
        return False
    return True


def wrong_variable(environ: Mapping[str, str]) -> str:
    """What is wrong with a variable for which the library would write a traceback, or a header's secret, to the log;
    empty if nothing is."""
    for name in _NUMBERS:
        value = environ.get(name, "")
        if value and not (value.isascii() and value.isdigit() and int(value[:18]) > 0):
            return f"{name}={value!r} is not a whole number above 0"
    for name in _HEADERS:
        parts = [part.strip() for part in environ.get(name, "").split(",")]
        if any(part and not _HEADER.fullmatch(part) for part in parts):
            return f"{name} is not a list of name=value, divided by commas"
    return ""


def _provider(program: str, instance: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    own = {"service.name": f"spool-{program}", "service.version": spool.__version__, "service.instance.id": instance}
    # The values of the operator's variables win.
    resource = Resource.create(own).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    queue = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") or _BATCH_SPANS)
    batch = int(os.environ.get(_BATCH) or min(_BATCH_SPANS, queue))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_export_batch_size=batch))
    return provider


def _context(parent: str) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    found = _TRACEPARENT.fullmatch(parent)
    if found is None:
        return Context()
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return set_span_in_context(NonRecordingSpan(SpanContext(trace_id, span_id, True, TraceFlags(flags))), Context())


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000) * 1000


tracing = Tracing()
"""The traces of this process."""
