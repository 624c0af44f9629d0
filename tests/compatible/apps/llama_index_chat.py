"""LlamaIndex's ``OpenAILike`` and its agent: ``llama_index_chat.py URL``."""

from __future__ import annotations

from collections.abc import Iterator

from framework import TOOL_PROMPT, check, get_weather, waited
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike


class LlamaIndex:
    """The framework."""

    def whole(self, base: str, model: str, prompt: str) -> str:
        """A whole answer."""
        return _llm(base, model).chat([ChatMessage(prompt)]).message.content or ""

    def stream(self, base: str, model: str, prompt: str) -> Iterator[str]:
        """The pieces."""
        return (part.delta for part in _llm(base, model).stream_chat([ChatMessage(prompt)]) if part.delta)

    def tool(self, base: str) -> str:
        """An agent's answer."""

        async def run() -> str:
            return str(await FunctionAgent(tools=[get_weather], llm=_llm(base, "demo")).run(TOOL_PROMPT))

        return waited(run())


def _llm(base: str, model: str) -> OpenAILike:
    options = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 8000}
    return OpenAILike(model=model, api_base=base, api_key="none", **options)


check(LlamaIndex())
