"""Frameworks for agents at ``/v1``, unmodified but for their base URL (``apps/framework.py``, ``frameworks.py``)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.compatible.applications import run
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack

# `make clients` runs them: they load many packages.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

APPS = Path(__file__).with_name("apps")
CASES = ("openai_agents_chat", "openai_agents_responses", "pydantic_ai", "smolagents")
CHECKED = {
    "haystack": ("haystack", "haystack_chat.py"),
    "LlamaIndex": ("haystack", "llama_index_chat.py"),
    "instructor": ("instructor", "instructor_chat.py"),
    "LiteLLM": ("litellm", "litellm_chat.py"),
    "semantic-kernel": ("microsoft", "semantic_kernel_chat.py"),
    "agent-framework over chat completions": ("microsoft", "agent_framework_chat.py", "chat"),
    "agent-framework over responses": ("microsoft", "agent_framework_chat.py", "responses"),
}
"""Each framework's environment, script and argument."""
SWALLOWED = {"agent-framework over responses": {"failure_of_a_stream", "failure_in_a_stream"}}
"""Failures that a framework takes for the end of an answer: it ignores the error of ``response.failed``. One before the
first token is an HTTP error, except on a machine that is so busy that the stream has begun meanwhile."""


@pytest.mark.parametrize("case", CASES)
def test_framework(stack: Stack, case: str) -> None:
    """The framework's agents get their tools called, their text streamed and their outputs typed."""
    outcomes: dict[str, str | None] = json.loads(
        run(APPS / "frameworks.py", stack.webs[0].url, case, needs="pydantic_ai").stdout
    )
    assert outcomes == {case: None}, outcomes[case]


@pytest.mark.parametrize("framework", CHECKED)
def test_checked_framework(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]], framework: str) -> None:
    """The framework gets whole answers, streams and its tools' results, shows failures with their codes and as one
    request, and takes no answer that is cut for a whole one."""
    environment, script, *arguments = CHECKED[framework]
    url = stack_and_upstreams[0].webs[0].url
    outcomes: dict[str, str | None] = json.loads(
        run(APPS / script, url, *arguments, environment=environment, LITELLM_LOCAL_MODEL_COST_MAP="True").stdout
    )
    assert len(outcomes) >= 6
    wrong = {name: outcome for name, outcome in outcomes.items() if outcome}
    assert not wrong.keys() - SWALLOWED.get(framework, set()), "\n".join(map(": ".join, wrong.items()))
