"""The body of ``POST /agui``, and its translation to chat messages and parameters."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from web.intake.messages import MESSAGES_AT_MOST
from web.intake.shapes import Pieces, Some
from web.intake.spool_fields import SpoolFields
from web.time_slices import in_slices

_AT_MOST = 1000
_ID = Field(min_length=1, max_length=200)


class _Asked(BaseModel):
    """A part of the body. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, alias_generator=to_camel, defer_build=True)


class AgUiFunction(_Asked):
    """The function of a call; its arguments are JSON as text."""

    name: str
    arguments: str = "{}"


class AgUiCall(_Asked):
    """A call of an earlier answer."""

    id: str
    function: AgUiFunction


class AgUiMessage(_Asked):
    """One message of the conversation. Activities and other unknown roles are left out."""

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: Any = None
    tool_calls: Annotated[Some[AgUiCall], Field(max_length=_AT_MOST)] | None = None
    tool_call_id: str | None = None


class AgUiTool(_Asked):
    """A tool that the client runs."""

    name: Annotated[str, _ID]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class AgUiContext(_Asked):
    """A fact about the application, for the model."""

    description: str = ""
    value: str = ""


class ForwardedProps(_Asked):
    """The application's own properties, of which Spool knows these."""

    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    spool: Annotated[SpoolFields | None, Field(description="Spool's own fields, as in `POST /jobs`")] = None


class RunInput(_Asked):
    """The body: ``RunAgentInput``."""

    PIECES: ClassVar[Pieces] = {"messages": (AgUiMessage, MESSAGES_AT_MOST)}

    thread_id: Annotated[str, _ID]
    run_id: Annotated[str, _ID]
    messages: Annotated[Some[AgUiMessage], Field(max_length=MESSAGES_AT_MOST)]
    tools: Annotated[Some[AgUiTool], Field(max_length=_AT_MOST)] | None = None
    context: Annotated[Some[AgUiContext], Field(max_length=_AT_MOST)] | None = None
    forwarded_props: ForwardedProps | None = None

    @property
    def props(self) -> ForwardedProps:
        """The application's properties."""
        return self.forwarded_props or ForwardedProps()

    def params(self) -> dict[str, Any]:
        """The parameters of a chat completion."""
        tools = [_tool(tool) for tool in in_slices(self.tools or [])]
        return {**self.props.params, **({"tools": tools} if tools else {})}

    def instructions(self) -> str | None:
        """The context, as a system prompt."""
        return "\n".join([f"{fact.description}: {fact.value}" for fact in self.context or ()]) or None


def chat_messages(messages: list[AgUiMessage]) -> list[dict[str, Any]]:
    """The conversation as chat messages."""
    return [said for message in in_slices(messages) for said in _said(message)]


def _said(message: AgUiMessage) -> list[dict[str, Any]]:
    match message.role:
        case "system" | "developer":
            return [{"role": message.role, "content": _text(message.content)}]
        case "user":
            return [{"role": "user", "content": _user_content(message.content)}]
        case "tool":
            result = {"tool_call_id": message.tool_call_id or "", "content": _text(message.content)}
            return [{"role": "tool", **result}]
        case "assistant":
            return _assistant(message)
    return []


def _assistant(message: AgUiMessage) -> list[dict[str, Any]]:
    text = _text(message.content)
    if not text and not message.tool_calls:
        return []
    said: dict[str, Any] = {"role": "assistant", "content": text or None}
    if message.tool_calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": call.function.model_dump()} for call in message.tool_calls
        ]
    return [said]


def _user_content(content: Any) -> Any:
    if not isinstance(content, list):
        return _text(content)
    parts = [part for item in content if isinstance(item, dict) for part in _part(item)]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    # Plain text where possible, because not every server accepts parts.
    return "\n\n".join(texts) if len(texts) == len(parts) else parts


def _part(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The item as a part of a chat message; none for a type that chat models do not take."""
    match item:
        case {"type": "text", "text": str(text)}:
            return [{"type": "text", "text": text}]
        case {"type": "image", "source": {"type": "url", "value": str(url)}} | {"type": "binary", "url": str(url)}:
            return [{"type": "image_url", "image_url": {"url": url}}]
        case {"type": "image", "source": {"type": "data", "mimeType": str(kind), "value": str(data)}} | {
            "type": "binary",
            "mimeType": str(kind),
            "data": str(data),
        }:
            return [{"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}]
    return []


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join([str(item.get("text") or "") for item in content if isinstance(item, dict)])
    return content if isinstance(content, str) else ""


def _tool(tool: AgUiTool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}
