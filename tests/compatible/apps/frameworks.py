"""Frameworks for agents against a Spool, only their base URL is set: ``frameworks.py URL CASE``.

A case whose package is not installed fails with ``ModuleNotFoundError``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from cases import report
from pydantic import BaseModel

BASE = f"{sys.argv[1]}/v1"
TOOL_PROMPT = "Ask get_weather about Oslo"
RESULT = "18 degrees in Oslo"
LONG_ENOUGH = 40
"""Tokens after which the demo has repeated the result."""


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"18 degrees in {city}"


def openai_agents_chat() -> None:
    """An agent calls its tool and answers, over chat completions."""
    asyncio.run(_openai_agents("OpenAIChatCompletionsModel"))


def openai_agents_responses() -> None:
    """The same over responses."""
    asyncio.run(_openai_agents("OpenAIResponsesModel"))


async def _openai_agents(kind: str) -> None:
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(disabled=True)
    model = getattr(agents, kind)(model="demo", openai_client=AsyncOpenAI(base_url=BASE, api_key="none"))
    # Without a limit of tokens: over responses, an incomplete answer is an error to it.
    agent = agents.Agent(name="a", model=model, tools=[agents.function_tool(get_weather)])
    whole = await agents.Runner.run(agent, TOOL_PROMPT)
    assert RESULT in whole.final_output, whole
    streamed = agents.Runner.run_streamed(agent, TOOL_PROMPT)
    names = [event.name async for event in streamed.stream_events() if event.type == "run_item_stream_event"]
    assert "tool_output" in names, names
    assert RESULT in streamed.final_output


def _pydantic_agent(**options: Any) -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("demo", provider=OpenAIProvider(base_url=BASE, api_key="none"))
    return Agent(model, model_settings={"max_tokens": LONG_ENOUGH}, **options)


def pydantic_ai() -> None:
    """An agent calls its tool and answers; its text streams; an output has its type."""
    assert RESULT in _pydantic_agent(tools=[get_weather]).run_sync(TOOL_PROMPT).output
    assert isinstance(_pydantic_agent(output_type=City).run_sync("Name Lisbon").output, City)

    async def stream() -> list[str]:
        async with _pydantic_agent().run_stream("Hi") as answer:
            return [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]

    assert len(asyncio.run(stream())) > 1


def smolagents() -> None:
    """A model answers, whole and as a stream."""
    from smolagents import ChatMessage, MessageRole, OpenAIServerModel

    model = OpenAIServerModel("demo", api_base=BASE, api_key="none", max_tokens=LONG_ENOUGH)
    prompt = [ChatMessage(MessageRole.USER, [{"type": "text", "text": "Hi"}])]
    assert "demo" in model.generate(prompt).content
    assert len([*model.generate_stream(prompt)]) > 2


report(globals()[sys.argv[2]])
