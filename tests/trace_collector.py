"""A collector of traces: a real HTTP server that takes spans by OTLP, as protobuf, and keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.webhook_receiver import Receiver, receiving


@dataclass(frozen=True, slots=True)
class Collected:
    """One span. Ids are hex; times are ns since the epoch."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    service: str
    error: str
    begin: int
    end: int
    attributes: Mapping[str, Any]
    events: tuple[str, ...]


class Collector:
    """The spans that a receiver of OTLP got."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    @property
    def environ(self) -> dict[str, str]:
        """The variables that name it. Spans are sent within 0.1 s."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.receiver.url.removesuffix("/hook"),
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    @property
    def spans(self) -> list[Collected]:
        """All spans, in the order of their beginnings."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        found = []
        for each in self.receiver.received:
            assert each.path == "/v1/traces"
            for group in ExportTraceServiceRequest.FromString(each.body).resource_spans:
                service = _plain(group.resource.attributes)["service.name"]
                found += [_collected(span, service) for scope in group.scope_spans for span in scope.spans]
        return sorted(found, key=lambda span: span.begin)

    def tree(self) -> list[tuple[str, str]]:
        """The name of each span with the name of its parent; of one that others made, the id."""
        names = {span.id: span.name for span in self.spans}
        return [(span.name, names.get(span.parent, span.parent)) for span in self.spans]


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector for the length of a ``with``."""
    with receiving() as receiver:
        receiver.status = 200
        yield Collector(receiver)


def _collected(span: Any, service: str) -> Collected:
    return Collected(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        span.kind,
        service,
        span.status.message if span.status.code == 2 else "",
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _plain(span.attributes),
        tuple(event.name for event in span.events),
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
