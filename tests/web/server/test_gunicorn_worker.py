"""The worker's grip on gunicorn, against the installed version. What it does for clients is tested over HTTP."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader
from gunicorn.workers import base_async
from gunicorn.workers.ggevent import GeventWorker

from web.server.gunicorn_worker import Worker
from web.server.request import BoundedRequest


def parameters(function: Any) -> list[str]:
    return [*inspect.signature(function).parameters]


@pytest.mark.parametrize("protocols", [["h2"], ["h2", "h1"]])
def test_http2_is_refused_by_name(protocols: list[str]) -> None:
    """gunicorn serves its requests past ``handle_request``: every stream would be a 500."""
    with pytest.raises(SystemExit, match="h2"):
        Worker.check_config(SimpleNamespace(http_protocols=protocols), None)
    Worker.check_config(SimpleNamespace(http_protocols=["h1"]), None)
    assert ".check_config(self.cfg, self.log)" in inspect.getsource(Arbiter)


def test_worker_overrides_methods_that_gunicorn_calls() -> None:
    """Each overridden method exists with the same parameters."""
    for name in ("load_wsgi", "run", "is_already_handled", "handle_request"):
        assert parameters(getattr(GeventWorker, name)) == parameters(getattr(Worker, name)), name
    assert parameters(GeventWorker.handle) == parameters(Worker.handle)[:4]


def test_request_ends_by_the_signs_that_the_worker_reads() -> None:
    """``handle_request`` calls the application as ``wsgi``, asks ``is_already_handled``, and ends a connection by
    ``StopIteration``."""
    source = inspect.getsource(base_async.AsyncWorker.handle_request)
    for sign in ("self.wsgi(environ, ", "if self.is_already_handled(respiter):", "raise StopIteration()"):
        assert sign in source, sign
    assert base_async.ALREADY_HANDLED is not None


def test_request_has_the_parts_that_are_replaced() -> None:
    """The body's reader, the flag for ``100 Continue``, and the bytes behind the request."""
    assert parameters(Request.set_body_reader) == parameters(BoundedRequest.set_body_reader)
    assert parameters(Request.should_close) == parameters(BoundedRequest.should_close)
    assert Request._expected_100_continue is False
    assert parameters(Request.force_close) == ["self"]
    assert parameters(Unreader.take_buffered) == ["self"]
    assert parameters(Request.__init__)[:4] == ["self", "cfg", "unreader", "peer_addr"]
