"""The Response object with every field that the Open Responses specification requires, null where allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from spool.jobs.job import Job
from web.delivery.failures import failure_of
from web.openai.failures import document_of

_DEFAULTS: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "user": None,
    "background": False,
    "store": True,
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "service_tier": "default",
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "truncation": "disabled",
}
_UNFINISHED = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseDocument(TypedDict):
    """A response. Its request fields are repeated; the defaults are those of the specification. ``spool`` lists the
    types of tools that were left out (``left_out_tools``), if any."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: str
    error: Mapping[str, Any] | None
    incomplete_details: Mapping[str, Any] | None
    model: str
    output: Sequence[Mapping[str, Any]]
    usage: Mapping[str, Any] | None
    metadata: Mapping[str, Any]
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    previous_response_id: str | None
    prompt_cache_key: str | None
    safety_identifier: str | None
    user: str | None
    background: bool
    store: bool
    parallel_tool_calls: bool
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    service_tier: str
    tool_choice: str | Mapping[str, Any]
    tools: list[Mapping[str, Any]]
    top_logprobs: int
    truncation: str
    reasoning: Mapping[str, Any]
    text: Mapping[str, Any]
    conversation: NotRequired[Mapping[str, str]]
    spool: NotRequired[Mapping[str, Any]]


@dataclass(slots=True)
class Outcome:
    """The state of a response so far. ``output`` holds its items."""

    status: str = "in_progress"
    output: Sequence[Mapping[str, Any]] = ()
    usage: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    incomplete_details: Mapping[str, Any] | None = None
    completed_at: int | None = None


def response_id(job: Job) -> str:
    """The response id of a job."""
    return f"resp_{job.id}"


def resource(job: Job, asked: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """The Response object. ``asked`` holds the echoed request fields (``ResponsesRequest.echo``)."""
    left_out = {"spool": {"left_out_tools": asked["left_out"]}} if asked.get("left_out") else {}
    return {
        "id": response_id(job),
        "object": "response",
        "created_at": int(job.created_at),
        "completed_at": outcome.completed_at,
        "status": outcome.status,
        "error": outcome.error,
        "incomplete_details": outcome.incomplete_details,
        "model": job.model,
        "output": outcome.output,
        "usage": outcome.usage,
        "metadata": job.metadata,
        **{name: asked.get(name, default) for name, default in _DEFAULTS.items()},
        "reasoning": {"effort": None, "summary": None, **(asked.get("reasoning") or {})},
        "text": {**(asked.get("text") or {}), "format": _format(asked)},
        **({"conversation": asked["conversation"]} if asked.get("conversation") else {}),
        **left_out,
    }


def incomplete_details(finish_reason: str) -> dict[str, Any] | None:
    """The reason why the model stopped early; None if it finished."""
    reason = _UNFINISHED.get(finish_reason)
    return {"reason": reason} if reason else None


def error_of(error: Mapping[str, Any]) -> dict[str, Any]:
    """A job's error. Its code is the upstream's own, or one of those that the API names."""
    failure = failure_of(error)
    code = failure.code
    if code == failure.own_code:
        code = "server_error" if failure.status >= 500 else "invalid_prompt"
    return {**document_of(failure)["error"], "code": code, "message": f"{failure.own_code}: {failure.message}"}


def usage_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A ``usage`` entry in the Responses API's fields."""
    return {
        "input_tokens": entry["input_tokens"],
        "input_tokens_details": {"cached_tokens": entry.get("cached_tokens") or 0, "cache_write_tokens": 0},
        "output_tokens": entry["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": entry.get("reasoning_tokens") or 0},
        "total_tokens": entry["input_tokens"] + entry["output_tokens"],
    }


def _format(asked: Mapping[str, Any]) -> dict[str, Any]:
    form = (asked.get("text") or {}).get("format") or {"type": "text"}
    if form.get("type") == "json_schema":
        return {"description": None, "strict": False, **form}
    return dict(form)
