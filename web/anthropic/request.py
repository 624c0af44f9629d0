"""The body of ``POST /v1/messages``, and its translation to chat messages and parameters."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from web.intake.earlier_reasoning import add_reasoning
from web.intake.shapes import Pieces, Some
from web.intake.spool_fields import SpoolFields
from web.time_slices import in_slices

_MESSAGES_AT_MOST = 10_000
_BLOCKS_AT_MOST = 1000
_TOOLS_AT_MOST = 1000
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class ContentBlock(BaseModel):
    """One block of content. Its other fields depend on its type."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    type: Annotated[str, Field(min_length=1, max_length=64)]

    def get(self, name: str) -> Any:
        """A field of its type, or None."""
        return (self.model_extra or {}).get(name)


ContentBlocks = Annotated[Some[ContentBlock], Field(max_length=_BLOCKS_AT_MOST)]


class MessageParam(BaseModel):
    """One message of the conversation."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    role: Literal["user", "assistant", "system"]
    content: str | ContentBlocks


class MessageTool(BaseModel):
    """A tool. One with another ``type`` than ``custom`` is run by Anthropic's servers or known to its models."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    name: Annotated[str, Field(min_length=1, max_length=200)]
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolChoice(BaseModel):
    """Which tool the model must use."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class CountRequest(BaseModel):
    """The fields of a request that make its prompt."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    PIECES: ClassVar[Pieces] = {"messages": (MessageParam, _MESSAGES_AT_MOST)}

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[Some[MessageParam], Field(min_length=1, max_length=_MESSAGES_AT_MOST)]
    system: str | ContentBlocks | None = None
    tools: Annotated[Some[MessageTool], Field(max_length=_TOOLS_AT_MOST)] | None = None
    tool_choice: ToolChoice | None = None

    def instructions(self) -> str | None:
        """The system prompt."""
        if isinstance(self.system, list):
            return _text(self.system) or None
        return self.system or None

    def tool_params(self) -> dict[str, Any]:
        """The tools as parameters of a chat completion, without those that the model's own servers run."""
        tools = [_function(tool) for tool in in_slices(self.tools or []) if tool.input_schema is not None]
        if not tools:
            return {}
        params: dict[str, Any] = {"tools": tools}
        choice = self.tool_choice
        if choice is not None:
            named = {"type": "function", "function": {"name": choice.name or ""}}
            params["tool_choice"] = _CHOICES.get(choice.type, named)
            if choice.disable_parallel_tool_use:
                params["parallel_tool_calls"] = False
        return params


class MessagesRequest(CountRequest):
    """The body. Unknown fields are ignored: they configure Anthropic's models and servers."""

    max_tokens: Annotated[int, Field(ge=1)]
    stream: bool | None = None
    stop_sequences: Annotated[Some[str], Field(max_length=100)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    metadata: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    spool: Annotated[SpoolFields | None, Field(description="Spool's own fields, as in `POST /jobs`")] = None

    def params(self) -> dict[str, Any]:
        """The parameters of a chat completion."""
        params = {
            "max_tokens": self.max_tokens,
            "stop": self.stop_sequences or None,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "user": self.user(),
            "response_format": self._response_format(),
            **self.tool_params(),
        }
        return {name: value for name, value in params.items() if value is not None}

    def user(self) -> str | None:
        """The client's own name for its user."""
        user = (self.metadata or {}).get("user_id")
        return user if isinstance(user, str) else None

    def _response_format(self) -> dict[str, Any] | None:
        form = self.output_format or (self.output_config or {}).get("format")
        if not isinstance(form, dict) or form.get("type") != "json_schema":
            return None
        return {"type": "json_schema", "json_schema": {"name": "output", "schema": form.get("schema"), "strict": True}}


def _function(tool: MessageTool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


def chat_messages(messages: list[MessageParam], *, keeps_reasoning: bool = False) -> list[dict[str, Any]]:
    """The conversation as chat messages. ``keeps_reasoning``: with the thinking of all messages, and not only of those
    that call tools. Raises ``orjson.JSONEncodeError`` for a tool's input that is nested too deeply."""
    return [said for message in in_slices(messages) for said in _said(message, keeps_reasoning)]


def _said(message: MessageParam, keeps_reasoning: bool) -> list[dict[str, Any]]:
    blocks = message.content
    if isinstance(blocks, str):
        return [{"role": message.role, "content": blocks}] if blocks else []
    if message.role == "system":
        # Claude Code sends its environment so. A chat's system messages may stand anywhere as well.
        text = _text(blocks)
        return [{"role": "system", "content": text}] if text else []
    return _assistant(blocks, keeps_reasoning) if message.role == "assistant" else _user(blocks)


def _text(blocks: list[ContentBlock]) -> str:
    return "\n\n".join([str(block.get("text") or "") for block in in_slices(blocks) if block.type == "text"])


def _assistant(blocks: list[ContentBlock], keeps_reasoning: bool) -> list[dict[str, Any]]:
    texts, thoughts, calls = [], [], []
    for block in in_slices(blocks):
        match block.type:
            case "text":
                texts.append(str(block.get("text") or ""))
            case "thinking":
                thoughts.append(str(block.get("thinking") or ""))
            case "tool_use":
                arguments = orjson.dumps(block.get("input") or {}).decode()
                function = {"name": str(block.get("name") or ""), "arguments": arguments}
                calls.append({"id": str(block.get("id") or ""), "type": "function", "function": function})
    if not texts and not calls:
        return []
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if calls:
        message["tool_calls"] = calls
    add_reasoning(message, "".join(thoughts), keeps_all=keeps_reasoning)
    return [message]


def _user(blocks: list[ContentBlock]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in in_slices(blocks):
        if block.type != "tool_result":
            parts += _part(block.type, block.get)
            continue
        text, pictures = _result(block.get("content"))
        results.append({"role": "tool", "tool_call_id": str(block.get("tool_use_id") or ""), "content": text})
        # Chat models take pictures from users only.
        parts += pictures
    if not parts:
        return results
    texts = [part["text"] for part in parts if part["type"] == "text"]
    # Plain text where possible, because not every server accepts parts.
    content: Any = "\n\n".join(texts) if len(texts) == len(parts) else parts
    return [*results, {"role": "user", "content": content}]


def _result(content: Any) -> tuple[str, list[dict[str, Any]]]:
    if not isinstance(content, list):
        return str(content or ""), []
    parts = [part for item in content if isinstance(item, dict) for part in _part(item.get("type"), item.get)]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "\n".join(texts), [part for part in parts if part["type"] != "text"]


def _part(kind: Any, get: Any) -> list[dict[str, Any]]:
    """The block as a part of a chat message; none for a type that chat models do not take."""
    source = get("source")
    match kind, source:
        case "text", _:
            return [{"type": "text", "text": str(get("text") or "")}]
        case "image", {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            return [{"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}]
        case "image", {"type": "url", "url": str(url)}:
            return [{"type": "image_url", "image_url": {"url": url}}]
        case "document", {"type": "text", "data": str(text)}:
            return [{"type": "text", "text": text}]
        case "document", {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            name = get("title") if isinstance(get("title"), str) else "document"
            return [{"type": "file", "file": {"filename": name, "file_data": f"data:{media_type};base64,{data}"}}]
        case "tool_reference", _:
            return [{"type": "text", "text": f"The tool {get('tool_name')} is available."}]
        case "search_result", _:
            return _result(get("content"))[1] or [{"type": "text", "text": _result(get("content"))[0]}]
    return []
