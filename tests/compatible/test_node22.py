"""Clients for Node 22 at ``/v1`` and ``/ai/chat``, unmodified but for their base URL (``node22/``)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.compatible.node_runtime import DIRECTORY_22, run_node
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

SCRIPTS = {
    "openai_agents.mjs": (
        ("chat", "responses"),
        ("whole", "stream", "tool", "failure", "failure in a stream", "cut"),
    ),
    "ai_providers.mjs": (
        ("responses", "chat", "compatible"),
        (
            "whole",
            "stream",
            "tool",
            "structured output",
            "failure",
            "failure of a stream",
            "failure in a stream",
            "cut",
        ),
    ),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_script(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]], script: str) -> None:
    """Each kind of model gets what its users expect of it."""
    url = stack_and_upstreams[0].webs[0].url
    outcomes: dict[str, str | None] = run_node(script, url, directory=DIRECTORY_22, timeout_s=180)
    kinds, cases = SCRIPTS[script]
    assert set(outcomes) == {f"{kind}: {case}" for kind in kinds for case in cases}
    wrong = [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome]
    assert not wrong, "\n".join(wrong)


def chat(stack: Stack, scenario: str, body: dict[str, Any], **options: Any) -> Any:
    """What a chat of ``ai`` 7 saw, which is at the first web, and resumes at the second."""
    asked = {"url": stack.webs[0].url, "other": stack.webs[1].url, "body": body, **options}
    return run_node("ai_sdk.mjs", scenario, orjson.dumps(asked).decode(), directory=DIRECTORY_22)


def test_chat(stack: Stack) -> None:
    """Two turns of a chat are whole."""
    seen = chat(stack, "whole", {"model": "demo", "params": {"rate": 0}})
    assert [message["role"] for message in seen["messages"]] == ["user", "assistant"] * 2
    assert seen["status"] == "ready"


def test_chat_that_is_cut(stack: Stack) -> None:
    """A chat whose connection is cut resumes its answer at another web, without duplicates."""
    params = {"tokens": 120, "rate": 40}
    seen = chat(stack, "cut", {"model": "demo", "params": params}, bytes=3000)
    assert (seen["before"]["status"], seen["after"]["status"]) == ("error", "ready")
    (text,) = [part for part in seen["after"]["messages"][-1]["parts"] if part["type"] == "text"]
    assert text["text"].startswith("## A demo answer")


def test_chat_that_fails(stack: Stack) -> None:
    """A failure in the answer is the chat's error."""
    assert chat(stack, "failure", {"model": "demo", "params": {"rate": 0, "fail_after": 3}})["status"] == "error"
