"""Whose pages may write where no key is needed, and open a WebSocket anywhere."""

from __future__ import annotations

import re

import httpx
import pytest
import websocket
from flask import Flask
from pydantic import SecretStr

from spool.settings import WebSettings
from tests.stack import Stack
from tests.web.problem_shape import assert_problem, stored
from web.origin_check import refuse_foreign
from web.problems import Problem

JOB = "j0-" + "0" * 26
WRITES = [
    ("POST", "/jobs"),
    ("POST", f"/jobs/{JOB}/cancel"),
    ("DELETE", f"/jobs/{JOB}"),
    ("POST", "/batches"),
    ("POST", f"/batches/b0-{'0' * 26}/cancel"),
    ("POST", f"/batches/b0-{'0' * 26}/lines"),
    ("POST", f"/batches/b0-{'0' * 26}/seal"),
    ("POST", "/v1/responses"),
    ("POST", f"/v1/responses/resp_{JOB}/cancel"),
    ("DELETE", f"/v1/responses/resp_{JOB}"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/files"),
    ("POST", "/v1/batches"),
    ("POST", f"/v1/batches/b0-{'0' * 26}/cancel"),
    ("DELETE", f"/v1/files/file-{'0' * 37}"),
    ("POST", "/mcp"),
    ("POST", "/agui"),
    ("POST", "/api/chat"),
    ("POST", "/api/generate"),
    ("POST", "/ai/chat"),
    ("POST", "/ai/chat/x/stop"),
    ("POST", "/ai/workflow"),
]
FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "http://[::1"},
    {"Origin": "http://127.0.0.1:99999"},
    {"Origin": "http://127.0.0.1:x"},
    {"Origin": "//"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


def made(stack: Stack) -> set[bytes]:
    """The keys of jobs, batches and files."""
    return {key for key in stored(stack.redis.link) if re.search(rb":(job|batch|file):", key)}


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_write_from_another_origin(open_web: Stack, method: str, path: str) -> None:
    """A page elsewhere changes nothing, whatever it asks for, even where the request needs no preflight."""
    client, before = open_web.client(), made(open_web)
    for headers in FOREIGN:
        response = client.request(method, path, content=b'{"prompt":"x"}', headers=headers)
        assert response.status_code == 403, headers
        if not path.startswith(("/v1/", "/api/", "/mcp")):
            assert_problem(response, 403)
    assert made(open_web) <= before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "{own}"},
        {"Origin": "https://app.example"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://behind-a-proxy.example", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=repr,
)
def test_write_that_is_allowed(open_web: Stack, headers: dict[str, str]) -> None:
    """Programs, the page that this server itself serves, and the pages of allowed origins may write."""
    sent = {name: value.replace("{own}", open_web.webs[0].url) for name, value in headers.items()}
    assert_problem(open_web.client().post("/jobs", json={}, headers=sent), 422)


def test_read_from_another_origin(open_web: Stack) -> None:
    """A page elsewhere may ask, and its browser does not let it read the answer."""
    response = open_web.client().get("/jobs", headers=FOREIGN[0])
    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("headers", FOREIGN, ids=repr)
def test_websocket_from_another_origin(open_web: Stack, headers: dict[str, str]) -> None:
    """A WebSocket of a page elsewhere is refused before the upgrade."""
    url = open_web.webs[0].url.replace("http://", "ws://") + "/ws"
    header = [f"{name}: {value}" for name, value in headers.items()]
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(url, header=header, suppress_origin=True, timeout=10)
    assert caught.value.status_code == 403


@pytest.mark.parametrize(
    ("host", "origin", "is_own"),
    [
        ("spool.example", "https://spool.example", True),
        ("spool.example:443", "https://spool.example", True),
        ("spool.example", "http://spool.example:80", True),
        ("SPOOL.example", "https://spool.example", True),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("spool.example", "https://spool.example:8443", False),
        ("spool.example:8000", "http://spool.example:8001", False),
        ("spool.example", "ftp://spool.example", False),
        ("spool.example", "https://other.example", False),
    ],
)
def test_own_origin(host: str, origin: str, is_own: bool) -> None:
    """An origin is this server's own if its host and port are those that were asked; a proxy may end TLS."""
    settings = WebSettings(redis_url=SecretStr("unix:///nowhere.sock"))
    with Flask("test").test_request_context("/", headers={"Host": host, "Origin": origin}):
        if is_own:
            refuse_foreign(settings)
        else:
            with pytest.raises(Problem, match="origin"):
                refuse_foreign(settings)


def test_keys_make_origins_irrelevant(alice: httpx.Client) -> None:
    """Where keys are needed, a request that shows one is its owner's, from wherever it comes."""
    assert alice.post("/jobs", json={"prompt": "x"}, headers=FOREIGN[0]).status_code == 202
