"""Asking every route of a web at once while Redis does not serve, and what is wrong with the answers."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from tests.loopback import NO_CERTIFICATES
from tests.stack import Web

BODY = {"prompt": "asked while Redis was away", "params": {"tokens": 5, "rate": 0}}
PUBLIC = ("/livez", "/version", "/metrics", "/models", "/docs", "/openapi.json")
"""What needs no Redis, or not now."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route said, and after how long. ``key``: the Idempotency-Key of a submit."""

    route: str
    status: int
    headers: httpx.Headers
    body: str
    took_s: float
    key: str = ""


def reads(job: str) -> list[tuple[str, str]]:
    """Method and path of what only reads."""
    return [
        ("GET", "/jobs"),
        ("GET", f"/jobs/{job}"),
        ("GET", f"/jobs/{job}/stream"),
        ("GET", f"/jobs/{job}/entries?after=0&wait=0"),
        ("GET", "/batches/b0-0123456789abcdef01"),
        ("GET", "/batches/b0-0123456789abcdef01/results"),
    ]


def writes(job: str) -> list[tuple[str, str]]:
    """Method and path of what changes something."""
    return [
        ("POST", "/jobs"),
        ("POST", "/batches"),
        ("POST", f"/jobs/{job}/cancel"),
        ("DELETE", f"/jobs/{job}"),
        ("POST", "/batches/b0-0123456789abcdef01/cancel"),
    ]


def ask(web: Web, routes: Iterable[tuple[str, str]], *, times: int = 1, within_s: float = 60.0) -> list[Answer]:
    """All of these routes at the same time, each so often."""
    asked = [route for route in routes for _ in range(times)]
    with (
        httpx.Client(
            base_url=web.url, timeout=within_s, limits=httpx.Limits(max_connections=None), verify=NO_CERTIFICATES
        ) as client,
        ThreadPoolExecutor(len(asked)) as pool,
    ):
        return list(pool.map(lambda route: _ask(client, *route), asked))


def submit(web: Web, key: str = "", **body: Any) -> Answer:
    """One submit, under a key."""
    with httpx.Client(base_url=web.url, timeout=60, verify=NO_CERTIFICATES) as client:
        return _ask(client, "POST", "/jobs", key, body or BODY)


def _ask(client: httpx.Client, method: str, path: str, key: str = "", body: Any = None) -> Answer:
    options: dict[str, Any] = {}
    if (method, path) == ("POST", "/jobs"):
        key = key or secrets.token_hex(8)
        options = {"json": body or BODY, "headers": {"Idempotency-Key": key}}
    elif path == "/batches":
        options = {"json": [BODY] * 3}
    began = time.monotonic()
    with client.stream(method, path, **options) as answer:
        # Of a stream its first event tells; it may go on for long.
        body = next(answer.iter_text(), "") if path.endswith("/stream") else answer.read().decode()
    return Answer(f"{method} {path}", answer.status_code, answer.headers, body, time.monotonic() - began, key)


def not_refused(answers: Sequence[Answer]) -> list[str]:
    """What in them is not a 503 as it should be: a problem, with a time to come back; an EventSource gets 200 and
    ``unavailable`` instead."""
    found = []
    for one in answers:
        if one.route.endswith("/stream"):
            is_refused = one.status == 200 and "event: unavailable" in one.body
        else:
            is_refused = (
                one.status == 503
                and one.headers["content-type"] == "application/problem+json"
                and one.headers.get("retry-after", "").isdigit()
                and json.loads(one.body)["status"] == 503
            )
        if not is_refused:
            found.append(f"{one.route}: {one.status} {dict(one.headers)} {one.body[:200]}")
    return found


def slower_than(answers: Sequence[Answer], bound_s: float) -> list[str]:
    """Those that took longer."""
    return [f"{one.route} took {one.took_s:.1f} s" for one in answers if one.took_s > bound_s]
