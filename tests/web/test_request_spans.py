"""The spans of requests and submits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from spool.jobs.origin import Origin
from spool.tracing import tracing
from tests.by_hand import new_job
from tests.trace_collector import Collector, running_collector
from web import request_spans
from web.request_ids import RequestIds, origin

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector to which this process sends."""
    with running_collector() as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        tracing.start("web", "host/web:1")
        yield running
        tracing.stop()


@pytest.fixture
def app() -> Flask:
    """An application whose only route submits a job, and fails if it is asked to."""
    app = Flask("web")
    app.wsgi_app = RequestIds(app.wsgi_app)  # type: ignore[method-assign]
    request_spans.install(app)

    @app.post("/jobs/<how>")
    def submit(how: str) -> tuple[str, int]:
        with request_spans.submitting(new_job(origin=origin())) as new:
            if how == "broken":
                raise ValueError("secret")
        return new.origin.traceparent, 202

    return app


def test_submit(collector: Collector, app: Flask) -> None:
    """The caller's span, the request's, and the submit's, which the record carries."""
    carried = app.test_client().post("/jobs/well", headers={"traceparent": PARENT}).text
    tracing.stop()
    assert collector.tree() == [("POST /jobs/<how>", CALLER), ("submit", "POST /jobs/<how>")]
    request, submit = collector.spans
    assert {request.trace, submit.trace} == {TRACE}
    assert carried == f"00-{TRACE}-{submit.id}-01"
    assert request.attributes["http.response.status_code"] == 202
    assert submit.begin <= submit.end <= request.end


def test_submit_that_fails(collector: Collector, app: Flask) -> None:
    """Both spans have an error, and not its text."""
    app.test_client().post("/jobs/broken", headers={"traceparent": PARENT})
    tracing.stop()
    assert [span.error for span in collector.spans] == ["500", "ValueError"]
    assert b"secret" not in collector.receiver.received[0].body


def test_message_on_a_socket(collector: Collector, app: Flask) -> None:
    """A request's context that ends without an answer ends its span: the spans below it have their parent."""
    with app.test_request_context("/jobs/well", method="POST"), request_spans.submitting(new_job(origin=origin())):
        pass
    tracing.stop()
    assert collector.tree() == [("POST /jobs/<how>", ""), ("submit", "POST /jobs/<how>")]


def test_without_a_collector(app: Flask) -> None:
    """The record carries the caller's place, as it came."""
    assert app.test_client().post("/jobs/well", headers={"traceparent": PARENT}).text == PARENT


def test_request_that_submits_nothing(collector: Collector, app: Flask) -> None:
    """It has no span: clients poll."""
    app.test_client().get("/jobs/well", headers={"traceparent": PARENT})
    tracing.stop()
    assert collector.spans == []


def test_job_without_a_trace(collector: Collector) -> None:
    """A submit outside of a request is the first span of a trace."""
    with request_spans.submitting(new_job(origin=Origin())) as new:
        pass
    tracing.stop()
    (span,) = collector.spans
    assert new.origin.traceparent.startswith(f"00-{span.trace}-{span.id}-")
