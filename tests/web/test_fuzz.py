"""Whatever is sent, the answer is no internal error, and every refusal is a problem."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack import Stack
from tests.web.problem_shape import assert_problem

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.sampled_from(
    ["prompt", "messages", "model", "params", "priority", "metadata", "ttl_s", "timeout_s", "on_disconnect"]
)
LIKELY = st.sampled_from(["demo", "batch", "interactive", "cancel", "continue", "user", "role", "content", "type", "x"])
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | LIKELY | TEXT
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | LIKELY | TEXT, inner, max_size=4),
    max_leaves=12,
)
SUBMISSIONS = st.dictionaries(NAMES | TEXT, VALUES, max_size=5) | VALUES
BODIES = SUBMISSIONS.map(orjson.dumps) | st.lists(SUBMISSIONS, max_size=3).map(orjson.dumps) | st.binary(max_size=60)
MEDIA_TYPES = st.sampled_from(["application/json", "application/x-ndjson", "text/plain", "application/json;charset=x"])
HEADER = st.text(string.printable.strip() + " äöü", max_size=30).map(str.strip)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Accept", "Prefer", "Idempotency-Key", "Last-Event-ID", "If-None-Match", "Range", "Origin", "Content-Encoding"]
    ),
    HEADER | st.sampled_from(["text/event-stream;q=0", "*/*;q=x", "wait=0", "wait=99999", "bytes=0-1", 'W/"x"', "*"]),
    max_size=3,
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["after", "limit", "status", "cursor", "batch", "linger_ms", "ping", "x"]),
        st.integers(-2, 2**64).map(str) | LIKELY | TEXT,
    ),
    max_size=4,
)
IDS = st.one_of(
    TEXT,
    st.from_regex(r"[jb][0-9]{1,5}-[0-9a-z]{10,42}", fullmatch=True),
    st.just("j0-" + "0" * 26),
)
ROUTES = st.sampled_from(
    ["/jobs/{}", "/jobs/{}/entries", "/jobs/{}/stream", "/jobs/{}/ws", "/batches/{}", "/batches/{}/results", "/{}"]
)


@pytest.fixture(scope="module")
def client(open_web: Stack) -> Iterator[httpx.Client]:
    """A client of a web where jobs with any deadline and any expiry disturb no other test."""
    with open_web.client() as client:
        yield client


def assert_no_internal_error(response: httpx.Response) -> None:
    """No internal error; a refusal is a problem."""
    assert response.status_code < 500, response.text
    # What gunicorn itself refuses, before there is an application, is its own.
    if response.status_code >= 400 and not response.text.startswith("<html>"):
        assert_problem(response, response.status_code)


def encoded(headers: dict[str, str]) -> dict[bytes, bytes]:
    """Headers as the bytes that travel."""
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


@given(body=BODIES, media_type=MEDIA_TYPES, headers=HEADERS)
def test_any_submit(client: httpx.Client, body: bytes, media_type: str, headers: dict[str, str]) -> None:
    """Any body with any headers is accepted or refused as a job."""
    # Nobody works here: what asks for the stream of a job that was accepted would wait for its end.
    del_accept = {name: value for name, value in headers.items() if name not in ("Accept", "Prefer")}
    sent = {**encoded(del_accept), b"Content-Type": media_type.encode()}
    response = client.post("/jobs", content=body, headers=sent)
    assert_no_internal_error(response)
    if response.status_code in (200, 202):
        job: dict[str, Any] = response.json()
        assert client.get(f"/jobs/{job['id']}").json()["metadata"] == job["metadata"]


@given(body=BODIES, media_type=MEDIA_TYPES, headers=HEADERS)
def test_any_batch(client: httpx.Client, body: bytes, media_type: str, headers: dict[str, str]) -> None:
    """Any body with any headers is accepted or refused as a batch."""
    response = client.post("/batches", content=body, headers={**encoded(headers), b"Content-Type": media_type.encode()})
    assert_no_internal_error(response)


@given(route=ROUTES, identifier=IDS, query=QUERIES, headers=HEADERS)
def test_any_read(
    client: httpx.Client, route: str, identifier: str, query: list[tuple[str, str]], headers: dict[str, str]
) -> None:
    """Any id with any query and any headers is answered."""
    path = route.format(quote(identifier, safe=":+"))
    assert_no_internal_error(client.get(path, params=query, headers=encoded(headers)))


@given(query=QUERIES, headers=HEADERS)
def test_any_list(client: httpx.Client, query: list[tuple[str, str]], headers: dict[str, str]) -> None:
    """Any query with any headers is answered with a list, or refused."""
    assert_no_internal_error(client.get("/jobs", params=query, headers=encoded(headers)))


@given(route=ROUTES, query=QUERIES, headers=HEADERS)
def test_any_read_of_an_ended_job(
    client: httpx.Client, route: str, query: list[tuple[str, str]], headers: dict[str, str]
) -> None:
    """A job that is there and has ended is read with any query and any headers, or refused."""
    job = client.post("/jobs", json={"prompt": "x"}, headers={"Idempotency-Key": "fuzz"}).json()["id"]
    client.post(f"/jobs/{job}/cancel")
    try:
        assert_no_internal_error(client.get(route.format(job), params=query, headers=encoded(headers)))
    except httpx.RemoteProtocolError:
        # Bare text of a job that was cancelled is cut.
        assert route == "/jobs/{}/stream"
        assert "text/plain" in headers.get("Accept", "")
