"""semantic-kernel's chat completion and its functions: ``semantic_kernel_chat.py URL``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from framework import TOOL_PROMPT, check, get_weather, pieces_of, waited
from openai import AsyncOpenAI
from semantic_kernel import Kernel
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
from semantic_kernel.contents import ChatHistory
from semantic_kernel.functions import kernel_function


class Weather:
    """The plugin."""

    @kernel_function(name="get_weather", description="The weather of a city.")
    def get_weather(self, city: str) -> str:
        """The weather of a city."""
        return get_weather(city)


class SemanticKernel:
    """The framework."""

    def whole(self, base: str, model: str, prompt: str) -> str:
        """A whole answer."""

        async def run() -> str:
            settings = OpenAIChatPromptExecutionSettings()
            return str(await _service(base, model).get_chat_message_content(_history(prompt), settings))

        return waited(run())

    def stream(self, base: str, model: str, prompt: str) -> Iterator[str]:
        """The pieces."""

        async def run() -> AsyncIterator[str]:
            settings = OpenAIChatPromptExecutionSettings()
            async for part in _service(base, model).get_streaming_chat_message_content(_history(prompt), settings):
                yield str(part)

        return pieces_of(run)

    def tool(self, base: str) -> str:
        """The answer after a function that the kernel calls."""

        async def run() -> str:
            kernel = Kernel()
            kernel.add_plugin(Weather(), "weather")
            settings = OpenAIChatPromptExecutionSettings(function_choice_behavior=FunctionChoiceBehavior.Auto())
            history = _history(TOOL_PROMPT)
            return str(await _service(base, "demo").get_chat_message_content(history, settings, kernel=kernel))

        return waited(run())


def _service(base: str, model: str) -> OpenAIChatCompletion:
    return OpenAIChatCompletion(ai_model_id=model, async_client=AsyncOpenAI(base_url=base, api_key="none"))


def _history(prompt: str) -> ChatHistory:
    history = ChatHistory()
    history.add_user_message(prompt)
    return history


check(SemanticKernel())
