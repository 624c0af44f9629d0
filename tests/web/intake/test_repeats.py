"""Which requests are tries of one request."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from spool.jobs.repeats import Joins
from web.intake.idempotency import NO_KEY, idempotency_of, is_safe_to_repeat

BODY = {"model": "m", "prompt_cache_key": "thread"}


@pytest.mark.parametrize(
    ("headers", "joins"),
    [
        ({}, None),
        ({"X-Stainless-Retry-Count": "0"}, Joins.NONE),
        ({"X-Stainless-Retry-Count": "1"}, Joins.RECENT),
        ({"X-Stainless-Retry-Count": "x"}, None),
        ({"X-Stainless-Retry-Count": "-1"}, None),
        ({"Originator": "codex_cli_rs"}, Joins.RECENT),
        ({"User-Agent": "codex_exec/0.171"}, Joins.RECENT),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else str(value),
)
def test_headers(headers: dict[str, str], joins: Joins | None) -> None:
    """A client that counts says whether this is a first try; Codex names its conversation."""
    with Flask("test").test_request_context("/v1/responses", headers=headers):
        repeat = idempotency_of(BODY).repeat
        assert (repeat.joins if repeat else None) is joins
        assert is_safe_to_repeat() is ("X-Stainless-Retry-Count" in headers and joins is not None)


def test_agents_of_claude_code() -> None:
    """Claude Code's tries all count as 0, and are one request; the same request of another of its agents, or in another
    session, is another."""
    session = {"X-Claude-Code-Session-Id": "s"}
    with Flask("test").test_request_context("/v1/messages", headers={**session, "X-Stainless-Retry-Count": "0"}):
        repeat = idempotency_of(BODY).repeat
        assert repeat is not None
        assert repeat.joins is Joins.RECENT
    keys = [
        key_of("/v1/messages", BODY, **headers)
        for headers in ({}, session, {**session, "X-Claude-Code-Agent-Id": "a"}, {"X-Claude-Code-Session-Id": "t"})
    ]
    assert len(set(keys)) == len(keys)
    assert key_of("/v1/messages", BODY, **session) == keys[1]


def test_codex_without_a_conversation() -> None:
    """Without the conversation's name, equal requests may both be meant."""
    with Flask("test").test_request_context("/v1/responses", headers={"Originator": "codex_cli_rs"}):
        assert idempotency_of({"model": "m"}) == NO_KEY


def key_of(path: str, body: Any, **headers: str) -> str:
    """The key of a request's repeats."""
    with Flask("test").test_request_context(path, headers={"X-Stainless-Retry-Count": "0", **headers}):
        repeat = idempotency_of(body).repeat
        assert repeat is not None
        return repeat.key


def test_key_is_of_route_and_body() -> None:
    """Two requests have one key if their routes and their bodies are equal, however these are written."""
    assert key_of("/v1/responses", {"a": 1, "b": 2}) == key_of("/v1/responses", {"b": 2, "a": 1})
    assert key_of("/v1/responses", {"a": 1}) != key_of("/v1/responses", {"a": 2})
    assert key_of("/v1/responses", {"a": 1}) != key_of("/v1/chat/completions", {"a": 1})


def test_idempotency_key_comes_first() -> None:
    """A request with an Idempotency-Key has no other."""
    headers = {"Idempotency-Key": "k", "X-Stainless-Retry-Count": "1"}
    with Flask("test").test_request_context("/v1/responses", headers=headers):
        found = idempotency_of(BODY)
    assert found.key
    assert found.repeat is None
