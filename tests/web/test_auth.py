"""Every route says who may call it."""

from __future__ import annotations

import pytest
from flask import Flask
from pydantic import SecretStr

from spool.access.caller import Kind
from spool.access.grants import Grant
from spool.settings import WebSettings
from web import auth
from web.app import create_app


@pytest.fixture(scope="module")
def app() -> Flask:
    """The whole application, which touches no Redis before it is started."""
    return create_app(WebSettings(redis_url=SecretStr("unix:///nowhere.sock")))


def test_every_route_has_a_scope(app: Flask) -> None:
    """Each route of the application declares one of the known scopes."""
    scopes = {rule.rule: getattr(app.view_functions[rule.endpoint], "scope", None) for rule in app.url_map.iter_rules()}
    assert scopes
    assert {rule for rule, scope in scopes.items() if scope not in auth.SCOPES} == set()


def test_what_is_public(app: Flask) -> None:
    """What anybody may call is a short list, and none of it is about a job."""
    public = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if app.view_functions[rule.endpoint].scope == "public"  # type: ignore[attr-defined]
    }
    page = {"/", "/read", "/static/<path:name>", "/static/client/<path:name>", "/session"}
    assert public == {
        *page,
        "/livez",
        "/readyz",
        "/version",
        "/api/version",
        "/openapi.json",
        "/docs",
        "/docs/<path:name>",
    }


def test_what_writes_asks_for_writing(app: Flask) -> None:
    """A call that changes something asks for a scope that allows it."""
    for rule in app.url_map.iter_rules():
        # They make a credential, of a key or of what the caller may do.
        if rule.rule in ("/session", "/tokens", "/jobs/<job_id>/links"):
            continue
        # Ollama's clients ask for a model with a POST; each tool of MCP asks for its own scope.
        if rule.rule in ("/api/show", "/mcp"):
            continue
        if (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}:
            assert app.view_functions[rule.endpoint].scope in ("jobs:write", "batches", "admin"), rule  # type: ignore[attr-defined]


def test_route_without_a_scope() -> None:
    """An application with a route that says nothing does not start."""
    app = Flask("test")
    app.add_url_rule("/secret", view_func=lambda: "secret", endpoint="secret")
    with pytest.raises(AssertionError, match=r"/\S+ declares no scope"):
        auth.check_every_route_has_a_scope(app)


def test_scope_that_is_none() -> None:
    """A scope that nobody knows is refused where it is declared."""
    with pytest.raises(ValueError, match="jobs:raed"):
        auth.scope("jobs:raed")


def test_application_hides_its_keys() -> None:
    """Neither the application nor its settings show a key."""
    secret = "very-secret-0123456789"
    settings = WebSettings(
        redis_url=SecretStr(f"redis://:{secret}@127.0.0.1:1/0"), api_keys=SecretStr(f"alice={secret}")
    )
    app = create_app(settings)
    shown = (
        repr(settings) + str(settings) + repr(app.config) + repr(app.extensions["spool"]) + settings.model_dump_json()
    )
    assert secret not in shown


def test_calls_that_links_and_tokens_reach(app: Flask) -> None:
    """They are about one job or one batch, and a short list."""
    shared = {
        rule.rule: app.view_functions[rule.endpoint].shared  # type: ignore[attr-defined]
        for rule in app.url_map.iter_rules()
        if getattr(app.view_functions[rule.endpoint], "shared", "")
    }
    assert shared == {
        "/jobs/<job_id>": "show",
        "/jobs/<job_id>/stream": "stream",
        "/jobs/<job_id>/ws": "ws",
        "/jobs/<job_id>/entries": "entries",
        "/jobs/<job_id>/cancel": "cancel",
        "/durable/<job_id>": "durable",
        "/batches/<batch_id>": "batch",
        "/batches/<batch_id>/entries": "results",
        "/batches/<batch_id>/results": "results",
        "/batches/<batch_id>/stream": "results",
        "/batches/<batch_id>/ws": "results",
    }


@pytest.mark.parametrize("path", ["/models", "/jobs", "/usage", "/metrics", "/version", "/session"])
@pytest.mark.parametrize("argument", ["link", "token"])
def test_argument_alone_shares_no_answer(app: Flask, path: str, argument: str) -> None:
    """Where no key is needed, a page of another origin could add the argument to any URL, and read the answer."""
    response = app.test_client().get(path, query_string={argument: "x"})
    shared = response.headers.get("Access-Control-Allow-Origin")
    assert (response.status_code, shared) == (401, "*") or shared is None
    assert response.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
def test_killing_through_a_proxy(monkeypatch: pytest.MonkeyPatch, header: str) -> None:
    """What a proxy or a tunnel passes on may come from another machine, and kills nothing."""
    monkeypatch.setenv("SPOOL_LOCAL_DEMO", "1")
    client = create_app(WebSettings(redis_url=SecretStr("unix:///nowhere.sock"))).test_client()
    assert client.post("/demo/kill/redis", headers={header: "198.51.100.7"}).status_code == 403


def test_answer_to_a_link_is_shared() -> None:
    """A page of any origin may read it, also an error."""
    app = create_app(WebSettings(redis_url=SecretStr("unix:///nowhere.sock"), secret=SecretStr("s" * 32)))
    job = "j0-" + "0" * 26
    grant = Grant(
        kind=Kind.LINK, owner="anonymous", expires_at=2**40, parent=Kind.ANONYMOUS, allows=("entries",), job=job
    )
    link = app.extensions["spool"].authenticator.signer.sign(grant)
    response = app.test_client().get(f"/jobs/{job}/entries", query_string={"link": link})
    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (503, "*")
    assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]


def test_killing_exists_only_in_a_local_demo(app: Flask) -> None:
    """Without the word of ``spool run`` there is no route that kills a process."""
    assert [rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/demo")] == []
