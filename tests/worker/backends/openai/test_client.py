"""Which way requests to an upstream go."""

from __future__ import annotations

import pytest

from spool.models.model import Upstream
from tests.scripted_upstream import ScriptedUpstream
from worker.backends.openai.client import connect

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def asked_path(upstream: Upstream, server: ScriptedUpstream) -> str:
    """What the server is asked for as the models of ``upstream``."""
    with connect(upstream, read_s=5) as client:
        client.models.list()
    return server.calls[0].path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> ScriptedUpstream:
    """It lists no models, and the environment names no proxy."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return ScriptedUpstream(lambda call: call.json(200, {"object": "list", "data": []}))


def test_upstream_is_asked_directly(server: ScriptedUpstream) -> None:
    """Without a proxy."""
    with server:
        assert asked_path(Upstream("gpu", server.url), server) == "/v1/models"


def test_upstream_is_asked_through_the_environments_proxy(
    server: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is told the whole address."""
    with server:
        monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
        assert asked_path(Upstream("gpu", "http://upstream.test/v1"), server) == "http://upstream.test/v1/models"


def test_upstream_that_needs_no_proxy_is_asked_directly(
    server: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_PROXY is heeded."""
    with server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert asked_path(Upstream("gpu", server.url), server) == "/v1/models"
