"""The bodies of ``POST /api/chat`` and ``/api/generate``, and their translation to chat messages and parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from web.intake.earlier_reasoning import add_reasoning
from web.intake.messages import MESSAGES_AT_MOST
from web.intake.shapes import Pieces, Some
from web.intake.spool_fields import SpoolFields
from web.problems import field_problem
from web.time_slices import in_slices

_AT_MOST = 1000
_OPTIONS = {
    "num_predict": "max_tokens",
    **{name: name for name in ("temperature", "top_p", "top_k", "min_p", "seed", "stop")},
    **{name: name for name in ("frequency_penalty", "presence_penalty")},
}
"""Options that a chat completion has too, by their names there. The others configure Ollama's own engine."""
_MEDIA_TYPES = {"iVBORw0": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}
"""Types of pictures by their first bytes in Base64."""

Images = Annotated[Some[str], Field(max_length=_AT_MOST)]


class OllamaFunction(BaseModel):
    """The function of a call."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class OllamaCall(BaseModel):
    """A call of an earlier answer. Older clients give it no id."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    id: str | None = None
    function: OllamaFunction


class OllamaMessage(BaseModel):
    """One message of the conversation."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: Images | None = None
    tool_calls: Annotated[Some[OllamaCall], Field(max_length=_AT_MOST)] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class OllamaRequest(BaseModel):
    """The fields of both bodies. Unknown fields are ignored: they configure Ollama's engine."""

    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)

    model: Annotated[str, Field(min_length=1, max_length=200)]
    stream: bool | None = None
    think: bool | str | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    spool: Annotated[SpoolFields | None, Field(description="Spool's own fields, as in `POST /jobs`")] = None

    def params(self) -> dict[str, Any]:
        """The parameters of a chat completion."""
        options = self.options or {}
        params = {name: options[own] for own, name in _OPTIONS.items() if options.get(own) is not None}
        if isinstance(self.think, str):
            params["reasoning_effort"] = self.think
        if self.format == "json":
            params["response_format"] = {"type": "json_object"}
        elif isinstance(self.format, dict):
            schema = {"name": "output", "schema": self.format}
            params["response_format"] = {"type": "json_schema", "json_schema": schema}
        if isinstance(params.get("max_tokens"), int) and params["max_tokens"] < 1:
            # Ollama's -1 and -2: no limit.
            del params["max_tokens"]
        return params


class OllamaChat(OllamaRequest):
    """The body of ``POST /api/chat``."""

    PIECES: ClassVar[Pieces] = {"messages": (OllamaMessage, MESSAGES_AT_MOST)}

    messages: Annotated[Some[OllamaMessage], Field(max_length=MESSAGES_AT_MOST)] = Field(default_factory=list)
    tools: Annotated[Some[dict[str, Any]], Field(max_length=_AT_MOST)] | None = None

    def params(self) -> dict[str, Any]:
        """The parameters, with the tools, which have the shape of chat completions."""
        return {**super().params(), **({"tools": self.tools} if self.tools else {})}


class OllamaGenerate(OllamaRequest):
    """The body of ``POST /api/generate``."""

    prompt: str = ""
    system: str | None = None
    images: Images | None = None


def chat_messages(messages: list[OllamaMessage], *, keeps_reasoning: bool = False) -> list[dict[str, Any]]:
    """The conversation as chat messages. Raises a 422 ``Problem`` for arguments that are nested too deeply."""
    try:
        return [*_translated(messages, keeps_reasoning)]
    except orjson.JSONEncodeError as exc:
        raise field_problem("messages", f"a call's arguments cannot be encoded: {exc}") from exc


def user_content(text: str, images: list[str] | None) -> Any:
    """The content of a user's message: text, or parts if there are pictures."""
    if not images:
        return text
    parts = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in images]
    return [*parts, {"type": "text", "text": text}] if text else parts


def _translated(messages: list[OllamaMessage], keeps_reasoning: bool) -> Iterator[dict[str, Any]]:
    open_calls: list[tuple[str, str]] = []
    for at, message in enumerate(in_slices(messages)):
        match message.role:
            case "assistant":
                answer = _assistant(message, at, keeps_reasoning)
                open_calls = [(call["function"]["name"], call["id"]) for call in answer.get("tool_calls", ())]
                if answer["content"] or open_calls:
                    yield answer
            case "tool":
                call_id = message.tool_call_id or _called(message, open_calls)
                yield {"role": "tool", "tool_call_id": call_id, "content": message.content or ""}
            case "user":
                yield {"role": "user", "content": user_content(message.content or "", message.images)}
            case "system":
                yield {"role": "system", "content": message.content or ""}


def _assistant(message: OllamaMessage, at: int, keeps_reasoning: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {"role": "assistant", "content": message.content or None}
    if message.tool_calls:
        answer["tool_calls"] = [_call(call, f"call_{at}_{n}") for n, call in enumerate(message.tool_calls)]
    add_reasoning(answer, message.thinking or "", keeps_all=keeps_reasoning)
    return answer


def _call(call: OllamaCall, made_id: str) -> dict[str, Any]:
    arguments = orjson.dumps(call.function.arguments).decode()
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id or made_id, "type": "function", "function": function}


def _called(result: OllamaMessage, open_calls: list[tuple[str, str]]) -> str:
    """The id of the call that the result answers: the first open one of its name, or the first one."""
    if not open_calls:
        return result.tool_name or "call"
    found = next((pair for pair in open_calls if pair[0] == result.tool_name), open_calls[0])
    open_calls.remove(found)
    return found[1]


def _data_url(image: str) -> str:
    kind = next((kind for start, kind in _MEDIA_TYPES.items() if image.startswith(start)), "image/png")
    return image if image.startswith("data:") else f"data:{kind};base64,{image}"
