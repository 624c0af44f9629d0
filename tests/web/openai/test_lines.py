"""Lines of batches for each endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, g

from spool.jobs.job import OnDisconnect
from spool.settings import WebSettings
from tests.stack import Redis
from web.openai.lines import ENDPOINTS, draft_of_line
from web.problems import Problem
from web.services import State

MESSAGES = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES, "temperature": 0},
    "/v1/responses": {"input": "Hi", "temperature": 0},
    "/v1/completions": {"prompt": "Hi", "temperature": 0},
    "/v1/embeddings": {"input": "Hi", "temperature": 0},
    "/v1/images/generations": {"prompt": "Hi", "temperature": 0},
}


@pytest.fixture
def services(redis: Redis) -> Iterator[State]:
    """The services of a web, in a request that asks for a cancel at its disconnect."""
    services = State.build(WebSettings(redis_url=redis.url))
    with Flask("lines").test_request_context("/", headers={"X-Spool-On-Disconnect": "cancel"}):
        g.caller = services.authenticator.caller(is_stream=False)
        yield services


@pytest.mark.parametrize("url", ENDPOINTS)
def test_draft_of_a_line(services: State, url: str) -> None:
    """Each endpoint's body makes the draft of its job; a batch has no reader to wait for."""
    draft = draft_of_line(services, url, {"model": "demo", **BODIES[url]})
    assert (draft.model, draft.params["temperature"], draft.on_disconnect) == ("demo", 0, OnDisconnect.CONTINUE)
    assert not draft.streams_text
    is_chat = url in ("/v1/chat/completions", "/v1/responses")
    assert bool(draft.messages) is is_chat
    assert draft.endpoint == ("" if is_chat else url.removeprefix("/v1/"))


@pytest.mark.parametrize("url", ENDPOINTS)
def test_wrong_line(services: State, url: str) -> None:
    """A wrong body is a problem that names the field of the body."""
    with pytest.raises(Problem) as caught:
        draft_of_line(services, url, {"model": "demo"})
    assert caught.value.extra["errors"][0]["field"] in ("messages", "input", "prompt")
