"""``Accept`` as RFC 9110 section 12.5.1 has it, and ``Prefer`` as RFC 7240 does."""

from __future__ import annotations

import httpx
import pytest
from flask import Flask

from web.delivery.streaming import MEDIA_TYPES
from web.negotiation import best_media_type, preferred_wait_s

SSE, NDJSON, TEXT = MEDIA_TYPES
JSON = "application/json"


def chosen(offers: list[str], accept: str | None) -> str | None:
    """The offer that a client with this ``Accept`` gets."""
    headers = {} if accept is None else {"Accept": accept}
    with Flask("test").test_request_context("/", headers=headers):
        return best_media_type(offers)


@pytest.mark.parametrize(
    ("accept", "stream", "submit"),
    [
        (None, SSE, JSON),
        ("", SSE, JSON),
        (" ", SSE, JSON),
        ("*/*", SSE, JSON),
        ("text/*", SSE, SSE),
        ("application/*", NDJSON, JSON),
        ("text/event-stream", SSE, SSE),
        ("TEXT/Event-Stream", SSE, SSE),
        ("text/event-stream; charset=utf-8", SSE, SSE),
        ("text/event-stream;charset=UTF-8;q=0.5", SSE, SSE),
        ("application/json, text/event-stream", SSE, JSON),
        ("text/event-stream, application/json", SSE, JSON),
        ("application/json;q=0.5, text/event-stream", SSE, SSE),
        ("application/x-ndjson, text/event-stream;q=0.9", NDJSON, NDJSON),
        ("application/x-ndjson;q=0.1, text/event-stream;q=0", NDJSON, NDJSON),
        ("*/*, text/event-stream;q=0", NDJSON, JSON),
        ("text/*;q=0.2, text/plain", TEXT, TEXT),
        ("text/event-stream;q=0.2, text/*", TEXT, TEXT),
        ("text/plain", TEXT, TEXT),
        ("text/plain, */*", SSE, JSON),
        ("text/plain, */*;q=0.01", TEXT, TEXT),
        ("application/json, text/plain, */*", SSE, JSON),
        ("text/event-stream, */*", SSE, SSE),
        ("application/x-ndjson, */*", NDJSON, NDJSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", SSE, JSON),
        ("application/json", None, JSON),
        ("image/png", None, None),
        ("*/*;q=0", None, None),
        ("text/event-stream;q=0", None, None),
        ("nonsense", None, None),
    ],
)
def test_media_type(accept: str | None, stream: str | None, submit: str | None) -> None:
    """The highest quality wins; of equals, what is named, and then what is offered first."""
    assert chosen([*MEDIA_TYPES], accept) == stream
    assert chosen([JSON, *MEDIA_TYPES], accept) == submit


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        ("wait=5", 5),
        ('wait="5"', 5),
        ("WAIT=5", 5),
        ("wait = 5", 5),
        ("wait=5; foo=bar", 5),
        ('wait="5"; foo="a,b"', 5),
        ("respond-async, wait=100", 100),
        ('foo="a, wait=3", wait=9', 9),
        ("wait=5, wait=6", 5),
        ("wait=0", 0),
        ("wait=999999999", 999999999),
        ("", None),
        ("wait", None),
        ("wait=", None),
        ("wait=x", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=" + "9" * 5000, None),
        ("await=5", None),
        ("waiting=5", None),
        ('foo="wait=7"', None),
        ("wait=²", None),
    ],
)
def test_wait(prefer: str, wait_s: int | None) -> None:
    """The first preference named ``wait`` counts, as a token or quoted, in any case, among others."""
    with Flask("test").test_request_context("/", headers={"Prefer": prefer}):
        assert preferred_wait_s() == wait_s


def test_prefer_in_several_headers(alice: httpx.Client) -> None:
    """Preferences may come in several headers, and what was applied is said."""
    sent = [("Prefer", "respond-async"), ("Prefer", 'Wait="0"')]
    answer = alice.post("/jobs", json={"prompt": "x"}, headers=sent)
    assert answer.status_code == 202
    job = answer.json()["id"]
    alice.post(f"/jobs/{job}/cancel")
    key = [("Idempotency-Key", "prefer"), *sent]
    first = alice.post("/jobs", json={"prompt": "y"}, headers=key).json()["id"]
    alice.post(f"/jobs/{first}/cancel")
    again = alice.post("/jobs", json={"prompt": "y"}, headers=key)
    assert (again.status_code, again.headers["Preference-Applied"]) == (200, "wait=0")


@pytest.mark.parametrize("accept", ["", "application/json, text/event-stream", "TEXT/EVENT-STREAM; charset=utf-8"])
def test_accept_of_a_stream(alice: httpx.Client, accept: str) -> None:
    """A stream is answered to any ``Accept`` that covers it."""
    job = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    alice.post(f"/jobs/{job}/cancel")
    response = alice.get(f"/jobs/{job}/stream", headers={"Accept": accept})
    assert (response.status_code, response.headers["Content-Type"].split(";")[0]) == (200, SSE)
