"""What happens to a job of another protocol when its client leaves: by body, header or setting, and never forwarded."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from flask import Flask

from spool.jobs.job import OnDisconnect
from tests.by_hand import record, store_of
from tests.stack import Stack
from web.intake.spool_fields import SpoolFields, on_disconnect_of

CHAT: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "x"}], "stream": True}
CANCELS: dict[str, Any] = {"spool": {"on_disconnect": "cancel"}}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", CHAT),
    "response": ("/v1/responses", {"model": "demo", "input": "x", "stream": True}),
    "ai": ("/ai/chat", {"id": "c1", "messages": [{"role": "user", "parts": [{"type": "text", "text": "x"}]}]}),
}


def job_of(alice: httpx.Client, path: str, body: dict[str, Any], **headers: str) -> str:
    """The job of a stream whose client leaves once its headers are there."""
    with alice.stream("POST", path, json=body, headers=headers) as response:
        assert response.status_code == 200, response.read()
        return response.headers["x-spool-job"]


@pytest.mark.parametrize("surface", REQUESTS)
def test_body_chooses(guarded: Stack, alice: httpx.Client, surface: str) -> None:
    """The job keeps what the body asks for, and the upstream never sees it."""
    path, body = REQUESTS[surface]
    job = job_of(alice, path, {**body, **CANCELS})
    assert record(guarded.redis.link, job)["on_disconnect"] == "cancel"
    assert "spool" not in store_of(guarded.redis.link).input_of(job).get("params", {})


@pytest.mark.parametrize("surface", REQUESTS)
def test_header_chooses(guarded: Stack, alice: httpx.Client, surface: str) -> None:
    """So does the header, for clients that cannot change their bodies."""
    path, body = REQUESTS[surface]
    headers = {"X-Spool-On-Disconnect": "cancel"}
    assert record(guarded.redis.link, job_of(alice, path, body, **headers))["on_disconnect"] == "cancel"
    assert record(guarded.redis.link, job_of(alice, path, body))["on_disconnect"] == "continue"


def test_other_header_is_refused(alice: httpx.Client) -> None:
    """Another value is named, and makes no job."""
    response = alice.post("/v1/chat/completions", json=CHAT, headers={"X-Spool-On-Disconnect": "maybe"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "X-Spool-On-Disconnect")


def test_background_response_continues(guarded: Stack, alice: httpx.Client) -> None:
    """A background response has no reader to wait for."""
    body = {"model": "demo", "input": "x", "background": True, **CANCELS}
    job = alice.post("/v1/responses", json=body).headers["x-spool-job"]
    assert record(guarded.redis.link, job)["on_disconnect"] == "continue"


def test_order_of_precedence() -> None:
    """The body comes before the header, and both before the setting."""
    stays, ends = OnDisconnect.CONTINUE, OnDisconnect.CANCEL
    with Flask("test").test_request_context("/", headers={"X-Spool-On-Disconnect": "cancel"}):
        assert on_disconnect_of(SpoolFields(on_disconnect=stays), ends) is stays
        assert on_disconnect_of(SpoolFields(), stays) is ends
    with Flask("test").test_request_context("/"):
        assert on_disconnect_of(None, ends) is ends
