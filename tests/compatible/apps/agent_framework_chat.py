"""Microsoft's agent-framework over chat completions and responses: ``agent_framework_chat.py URL KIND``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import agent_framework_openai
from agent_framework import Agent
from framework import TOOL_PROMPT, check, get_weather, pieces_of, waited

KINDS = {"chat": "OpenAIChatCompletionClient", "responses": "OpenAIChatClient"}


class AgentFramework:
    """The framework."""

    def whole(self, base: str, model: str, prompt: str) -> str:
        """A whole answer."""
        return waited(_run(base, model, prompt))

    def stream(self, base: str, model: str, prompt: str) -> Iterator[str]:
        """The pieces."""

        async def run() -> AsyncIterator[str]:
            async for part in _agent(base, model).run(prompt, stream=True):
                yield part.text

        return pieces_of(run)

    def tool(self, base: str) -> str:
        """The answer after a tool that the agent calls."""
        return waited(_run(base, "demo", TOOL_PROMPT, tools=[get_weather]))


def _agent(base: str, model: str, **options: Any) -> Agent:
    client = getattr(agent_framework_openai, KINDS[sys.argv[2]])
    return Agent(client=client(model=model, base_url=base, api_key="none"), **options)


async def _run(base: str, model: str, prompt: str, **options: Any) -> str:
    return (await _agent(base, model, **options).run(prompt)).text


check(AgentFramework())
