"""The body of ``POST /v1/responses`` and its translation to chat completion parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from web.intake.shapes import Some
from web.openai.client_tools import Called, ToolSet, tools_in
from web.openai.fields import Asked, refuse

_SAME_NAMES = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "parallel_tool_calls",
    "user",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
)
_ECHOED = (
    *_SAME_NAMES,
    *("instructions", "max_output_tokens", "max_tool_calls", "reasoning", "text", "tool_choice", "top_logprobs"),
)
_NAMED = ("function", "custom")
_SEALED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
_KEPT_S = 300
"""Seconds for which a response with ``store: false`` is kept."""
Number = float | int


class Tool(BaseModel):
    """A function that the model may call, or another tool that the client runs. Others are left out, because Spool does
    not run tools."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    type: Annotated[str, Field(max_length=64)]
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ConversationReference(BaseModel):
    """The conversation that a response reads and adds to."""

    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)

    id: Annotated[str, Field(max_length=100)]


class ResponsesRequest(Asked):
    """The body. Other fields go to the upstream unchanged."""

    input: str | Annotated[Some[dict[str, Any]], Field(max_length=10_000)]
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(max_length=100)] | None = None
    background: bool | None = None
    stream_options: dict[str, Any] | None = None
    include: Some[str] | None = None
    tools: Annotated[Some[Tool], Field(max_length=512)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tool_calls: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    client_metadata: Any = None
    context_management: Any = None
    moderation: Any = None
    conversation: Annotated[str, Field(max_length=100)] | ConversationReference | None = None
    prompt: Any = None

    def check(self) -> None:
        """Raise a 422 ``Problem`` for features that Spool itself does not support."""
        for at, tool in enumerate(self.tools or ()):
            if tool.type in _NAMED and tool.name is None:
                refuse(f"tools[{at}].name", "is missing")
        if self.conversation is not None and self.previous_response_id is not None:
            refuse("conversation", "cannot be used together with previous_response_id")
        if self.conversation is not None and self.spool is not None and self.spool.conversation is not None:
            refuse("conversation", "cannot be used together with spool.conversation")
        if self.prompt is not None:
            refuse("prompt", "templates are not supported: use input and instructions")
        if self.truncation == "auto":
            refuse("truncation", "must be disabled: Spool does not truncate conversations")

    @property
    def ttl_s(self) -> int | None:
        """Seconds to keep the response after its end; None: the server's default for jobs."""
        # Until the conversation has its turn, the response is needed.
        return _KEPT_S if self.store is False and self.conversation is None else None

    @property
    def conversation_id(self) -> str | None:
        """The id of its conversation."""
        return self.conversation.id if isinstance(self.conversation, ConversationReference) else self.conversation

    def echo(self) -> dict[str, Any]:
        """The request fields that the response repeats."""
        echoed = {name: getattr(self, name) for name in _ECHOED if getattr(self, name) is not None}
        if self.tools:
            echoed["tools"] = [tool.model_dump(exclude_unset=tool.type != "function") for tool in self.tools]
        tools = self.tool_set
        if tools.called:
            echoed["called"] = {name: astuple(called) for name, called in tools.called.items()}
        if tools.left_out:
            echoed["left_out"] = tools.left_out
        if _SEALED in (self.include or ()):
            echoed["seals_reasoning"] = True
        if self._wants_logprobs:
            echoed["logprobs"] = True
        return {
            **echoed,
            "background": bool(self.background),
            "store": self.store is not False,
            "previous_response_id": self.previous_response_id,
        }

    def params(self) -> dict[str, Any]:
        """The parameters of the chat completion."""
        params = self.extras()
        params.update({name: getattr(self, name) for name in _SAME_NAMES if getattr(self, name) is not None})
        if self.max_output_tokens is not None:
            params["max_completion_tokens"] = self.max_output_tokens
        if self._wants_logprobs:
            params.update({"logprobs": True, **({"top_logprobs": self.top_logprobs} if self.top_logprobs else {})})
        params.update(self._of_reasoning_and_text())
        params.update(self._of_tools())
        return params

    @property
    def _wants_logprobs(self) -> bool:
        return bool(self.top_logprobs) or _LOGPROBS in (self.include or ())

    def _of_reasoning_and_text(self) -> dict[str, Any]:
        params: dict[str, Any] = {}
        if (self.reasoning or {}).get("effort"):
            params["reasoning_effort"] = (self.reasoning or {})["effort"]
        text = self.text or {}
        if text.get("verbosity"):
            params["verbosity"] = text["verbosity"]
        form = text.get("format") or {"type": "text"}
        if not isinstance(form, dict):
            refuse("text.format", "must be an object")
        if form.get("type") == "json_schema":
            schema = {name: value for name, value in form.items() if name != "type" and value is not None}
            params["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif form.get("type") != "text":
            params["response_format"] = form
        return params

    @cached_property
    def tool_set(self) -> ToolSet:
        """The tools as functions, those in the input included."""
        in_input = tools_in(self.input) if isinstance(self.input, list) else ()
        return ToolSet.of([*(tool.model_dump(exclude_none=True) for tool in self.tools or ()), *in_input])

    def _of_tools(self) -> dict[str, Any]:
        tools, choice = list(self.tool_set.functions.values()), self.tool_choice
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            allowed = _allowed_names(choice.get("tools"))
            tools = [tool for tool in tools if tool["function"]["name"] in allowed]
            choice = _text(choice.get("mode", "auto"), "tool_choice.mode")
        elif isinstance(choice, dict):
            name = _chosen({"type": None, **choice}, "tool_choice")
            # A tool that was left out cannot be chosen.
            choice = {"type": "function", "function": {"name": name}} if name in self.tool_set.functions else None
        # Some servers refuse a tool_choice without tools.
        return {"tools": tools, **({"tool_choice": choice} if choice is not None else {})} if tools else {}


def _allowed_names(tools: Any) -> set[str]:
    if not isinstance(tools, list):
        refuse("tool_choice.tools", "must be a list of tools")
    return {
        _chosen(tool if isinstance(tool, dict) else {}, f"tool_choice.tools[{at}]") for at, tool in enumerate(tools)
    }


def _chosen(choice: Mapping[str, Any], field: str) -> str:
    """The name of the function that stands for a chosen tool."""
    kind = _text(choice.get("type", "function"), f"{field}.type")
    if kind not in _NAMED:
        return Called(kind).function
    return Called(kind, _text(choice.get("name"), f"{field}.name"), str(choice.get("namespace") or "")).function


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        refuse(field, "must be text")
    return value
