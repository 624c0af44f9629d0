"""The AI SDK's UI messages, translated to chat messages.

https://ai-sdk.dev/docs/reference/ai-sdk-core/ui-message. Like the SDK's ``convertToModelMessages``, except that it
omits:

- Tool calls without a result: model servers refuse a conversation that continues after one.
- An assistant's own files: chat models do not accept them as input.
- Reasoning of a step without tool calls, unless the model wants all of it.
- Messages that end up empty, such as the remains of an answer that failed at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from web.intake.earlier_reasoning import add_reasoning
from web.intake.shapes import Pieces, Some
from web.time_slices import in_slices

_PARTS_AT_MOST = 10_000
_TOOL = "tool-"
_DYNAMIC_TOOL = "dynamic-tool"
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "text": ("text",),
    "file": ("url", "media_type"),
    _TOOL: ("tool_call_id", "state"),
    _DYNAMIC_TOOL: ("tool_call_id", "state", "tool_name"),
}
"""The required fields of a part, by type."""


class UiPart(BaseModel):
    """One part of a UI message. Its fields depend on its type; some types are not used here."""

    model_config = ConfigDict(extra="allow", strict=True, alias_generator=to_camel, defer_build=True)

    type: Annotated[str, Field(min_length=1, max_length=200)]
    text: str | None = None
    url: str | None = None
    media_type: str | None = None
    filename: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    state: str | None = None
    tool_input: Any = Field(None, alias="input")
    raw_input: Any = None
    output: Any = None
    error_text: str | None = None
    preliminary: bool | None = None
    approval: Any = None

    @property
    def is_tool(self) -> bool:
        """Whether it is a tool call, in any state."""
        return self.type.startswith(_TOOL) or self.type == _DYNAMIC_TOOL

    @property
    def called(self) -> str:
        """The tool's name."""
        return self.type.removeprefix(_TOOL) if self.type.startswith(_TOOL) else self.tool_name or ""

    @property
    def given(self) -> Any:
        """The tool's input; the raw text if that was not JSON."""
        return self.raw_input if self.tool_input is None else self.tool_input

    def dump(self) -> dict[str, Any]:
        """The part as received."""
        return self.model_dump(by_alias=True, exclude_unset=True)

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> UiPart:
        for name in _NEEDED.get(_TOOL if self.type.startswith(_TOOL) else self.type, ()):
            if getattr(self, name) is None:
                raise ValueError(f"needs {to_camel(name)}")
        return self


class UiMessage(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    PIECES: ClassVar[Pieces] = {"parts": (UiPart, _PARTS_AT_MOST)}

    id: Annotated[str, Field(max_length=200)] = ""
    role: Literal["system", "user", "assistant"]
    parts: Annotated[Some[UiPart], Field(max_length=_PARTS_AT_MOST)]


def messages_of(chat: Sequence[UiMessage], *, keeps_reasoning: bool = False) -> list[dict[str, Any]]:
    """The conversation. ``keeps_reasoning``: with the reasoning of all steps. Raises ``orjson.JSONEncodeError`` for a
    tool's input or output that is nested too deeply."""
    return [message for ui_message in in_slices(chat) for message in _messages(ui_message, keeps_reasoning)]


def _messages(message: UiMessage, keeps_reasoning: bool) -> Iterator[dict[str, Any]]:
    if message.role == "assistant":
        for step in _steps(message.parts):
            yield from _step(step, keeps_reasoning)
    elif content := _content(message):
        yield {"role": message.role, "content": content}


def _content(message: UiMessage) -> str | list[dict[str, Any]]:
    """Plain text where possible, because not every server accepts parts from every role."""
    if message.role == "system":
        return _text(message.parts)
    parts = [shown for part in in_slices(message.parts) if (shown := _user_part(part)) is not None]
    return str(parts[0]["text"]) if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _text(parts: Sequence[UiPart]) -> str:
    return "".join([part.text or "" for part in parts if part.type == "text"])


def _user_part(part: UiPart) -> dict[str, Any] | None:
    match part.type:
        case "text" if part.text:
            return {"type": "text", "text": part.text}
        case "file" if (part.media_type or "").startswith("image/"):
            return {"type": "image_url", "image_url": {"url": part.url}}
        case "file":
            return {"type": "file", "file": {"filename": part.filename or "file", "file_data": part.url}}
    return None


def _steps(parts: Sequence[UiPart]) -> Iterator[list[UiPart]]:
    """An assistant's message, split at each new call of the model."""
    step: list[UiPart] = []
    for part in in_slices(parts):
        if part.type == "step-start":
            yield step
            step = []
        else:
            step.append(part)
    yield step


def _step(parts: Sequence[UiPart], keeps_reasoning: bool) -> Iterator[dict[str, Any]]:
    text = _text(parts)
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    answered = [(part, output) for part in in_slices(parts) if part.is_tool and (output := _output(part)) is not None]
    if answered:
        message["tool_calls"] = [_call(part) for part, _ in in_slices(answered)]
    if text or answered:
        thoughts = "".join([part.text or "" for part in parts if part.type == "reasoning"])
        add_reasoning(message, thoughts, keeps_all=keeps_reasoning)
        yield message
    for part, output in answered:
        yield {"role": "tool", "tool_call_id": part.tool_call_id, "content": output}


def _call(part: UiPart) -> dict[str, Any]:
    arguments = "{}" if part.given is None else orjson.dumps(part.given).decode()
    return {"id": part.tool_call_id, "type": "function", "function": {"name": part.called, "arguments": arguments}}


def _output(part: UiPart) -> str | None:
    """The call's result for the model; None while there is none."""
    match part.state:
        case "output-available" if not part.preliminary:
            return part.output if isinstance(part.output, str) else orjson.dumps(part.output).decode()
        case "output-error":
            return part.error_text or "the tool failed"
        case "output-denied":
            reason = part.approval.get("reason") if isinstance(part.approval, dict) else None
            return str(reason or "the call was denied")
    return None
