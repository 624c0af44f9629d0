"""LiteLLM's SDK: ``litellm_chat.py URL``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import litellm
from framework import TOOL_PROMPT, check, get_weather

litellm.telemetry = False
# It prints to the standard output otherwise.
litellm.suppress_debug_info = True
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class LiteLlm:
    """The SDK."""

    def whole(self, base: str, model: str, prompt: str) -> str:
        """A whole answer."""
        return _asked(base, model, prompt).choices[0].message.content

    def stream(self, base: str, model: str, prompt: str) -> Iterator[str]:
        """The pieces."""
        chunks = _asked(base, model, prompt, stream=True)
        return (chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content)

    def tool(self, base: str) -> str:
        """The answer to a tool's result."""
        called = _asked(base, "demo", TOOL_PROMPT, tools=[TOOL]).choices[0].message
        (call,) = called.tool_calls
        assert call.function.arguments in ('{"city":"Oslo"}', '{"city": "Oslo"}'), call
        result = {"role": "tool", "tool_call_id": call.id, "content": get_weather("Oslo")}
        return _asked(base, "demo", TOOL_PROMPT, called.model_dump(), result, tools=[TOOL]).choices[0].message.content


def _asked(base: str, model: str, prompt: str, *more: dict[str, Any], **options: Any) -> Any:
    messages = [{"role": "user", "content": prompt}, *more]
    return litellm.completion(model=f"openai/{model}", api_base=base, api_key="none", messages=messages, **options)


check(LiteLlm())
