"""haystack's chat generator and agent: ``haystack_chat.py URL``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from framework import TOOL_PROMPT, check, get_weather
from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from haystack.utils import Secret


class Haystack:
    """The framework."""

    def whole(self, base: str, model: str, prompt: str) -> str:
        """A whole answer."""
        return _answer(_generator(base, model), prompt)

    def stream(self, base: str, model: str, prompt: str) -> Iterator[str]:
        """The pieces, which haystack gives to a callback."""
        pieces: list[str] = []
        _answer(_generator(base, model, streaming_callback=lambda chunk: pieces.append(chunk.content)), prompt)
        return iter(piece for piece in pieces if piece)

    def tool(self, base: str) -> str:
        """An agent's answer."""
        agent = Agent(chat_generator=_generator(base, "demo"), tools=[create_tool_from_function(get_weather)])
        return agent.run(messages=[ChatMessage.from_user(TOOL_PROMPT)])["messages"][-1].text


def _generator(base: str, model: str, **options: Any) -> OpenAIChatGenerator:
    return OpenAIChatGenerator(api_key=Secret.from_token("none"), model=model, api_base_url=base, **options)


def _answer(generator: OpenAIChatGenerator, prompt: str) -> str:
    return generator.run([ChatMessage.from_user(prompt)])["replies"][0].text


check(Haystack())
