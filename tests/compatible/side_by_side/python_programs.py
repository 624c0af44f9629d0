"""The programs of the official SDKs for Python: chat completions, responses and messages. Each does what its users do,
and returns what it saw."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Seen = dict[str, Any]
Program = Callable[[str, str, str], Seen]
"""From a base URL, the name of a program and a model to what was seen."""

TIMEOUT_S = 1.5
PROMPT = "What is a spool?"
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NAMES = ("one", "two")
STREAMED = ("stream", "keyed", "stop", "tools")
SUMMARY: Any = {"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]}


def nothing() -> Seen:
    """What a program has seen at its beginning."""
    return {"text": "", "reasoning": "", "tools": [], "finish": None, "usage": None, "error": None}


def openai_chat(url: str, program: str, model: str) -> Seen:
    """Chat completions."""
    seen, messages = nothing(), [{"role": "user", "content": PROMPT}]
    with _openai(url, program) as sdk:
        asked: Any = {"model": model, "messages": messages, **_named(program, model)}
        if program in ("tools", "reasoning"):
            asked["tools"] = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
        try:
            if program in STREAMED:
                _chat_stream(sdk, asked, seen, stops=program == "stop")
            else:
                answer = sdk.chat.completions.create(**asked)
                if program == "reasoning":
                    said = answer.choices[0].message
                    results = [{"role": "tool", "tool_call_id": call.id, "content": "18"} for call in said.tool_calls]
                    messages += [said.to_dict(), *results]
                    answer = sdk.chat.completions.create(**asked)
                _chat_whole(answer, seen)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is what the program saw
            seen["error"] = _openai_error(exc)
    return seen


def openai_responses(url: str, program: str, model: str) -> Seen:
    """Responses."""
    seen = nothing()
    items: list[Any] = [{"role": "user", "content": PROMPT}]
    with _openai(url, program) as sdk:
        asked: Any = {"model": model, "input": items, **SUMMARY, **_named(program, model)}
        if program in ("tools", "reasoning"):
            asked["tools"] = [{"type": "function", "name": name, "parameters": SCHEMA} for name in NAMES]
        try:
            if program in STREAMED:
                _response_stream(sdk, asked, seen, stops=program == "stop")
            else:
                answer = sdk.responses.create(**asked)
                if program == "reasoning":
                    calls = [item for item in answer.output if item.type == "function_call"]
                    items += [item.to_dict() for item in answer.output]
                    items += [{"type": "function_call_output", "call_id": c.call_id, "output": "18"} for c in calls]
                    answer = sdk.responses.create(**asked)
                _response_end(answer, seen)
                seen["text"] = answer.output_text
        except Exception as exc:  # noqa: BLE001 - as above
            seen["error"] = _openai_error(exc)
    return seen


def anthropic_messages(url: str, program: str, model: str) -> Seen:
    """Messages."""
    from anthropic import Anthropic

    seen, turns = nothing(), [{"role": "user", "content": PROMPT}]
    usual: Any = {"timeout": TIMEOUT_S, "max_retries": 9} if program == "timeout" else {}
    with Anthropic(base_url=url, api_key="none", **usual) as sdk:
        asked: Any = {"model": model, "max_tokens": 99, "messages": turns, **_named(program, model)}
        if program in ("tools", "reasoning"):
            asked["tools"] = [{"name": name, "input_schema": SCHEMA} for name in NAMES]
        try:
            if program in STREAMED:
                _message_stream(sdk, asked, seen, stops=program == "stop")
            else:
                answer = sdk.messages.create(**asked)
                if program == "reasoning":
                    calls = [block for block in answer.content if block.type == "tool_use"]
                    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "18"} for call in calls]
                    turns.append({"role": "assistant", "content": [block.to_dict() for block in answer.content]})
                    turns.append({"role": "user", "content": results})
                    answer = sdk.messages.create(**asked)
                _message_whole(answer, seen)
        except Exception as exc:  # noqa: BLE001 - as above
            body = getattr(exc, "body", None)
            error = body.get("error", {}) if isinstance(body, dict) else {}
            seen["error"] = _error(exc, error.get("type"))
    return seen


PROGRAMS: dict[str, Program] = {
    "openai-python-chat": openai_chat,
    "openai-python-responses": openai_responses,
    "anthropic-python": anthropic_messages,
}


def _named(program: str, model: str) -> dict[str, Any]:
    return {"extra_headers": {"Idempotency-Key": model}} if program == "keyed" else {}


def _openai(url: str, program: str) -> Any:
    from openai import OpenAI

    usual: Any = {"timeout": TIMEOUT_S, "max_retries": 9} if program == "timeout" else {}
    return OpenAI(base_url=f"{url}/v1", api_key="none", **usual)


def _openai_error(exc: Exception) -> Seen:
    return _error(exc, getattr(exc, "code", None))


def _error(exc: Exception, code: Any) -> Seen:
    return {"class": type(exc).__name__, "status": getattr(exc, "status_code", None), "code": code}


def _chat_stream(sdk: Any, asked: Any, seen: Seen, *, stops: bool) -> None:
    calls: dict[int, list[str]] = {}
    with sdk.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}) as chunks:
        for chunk in chunks:
            if chunk.usage:
                seen["usage"] = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]
            for choice in chunk.choices:
                seen["text"] += choice.delta.content or ""
                seen["reasoning"] += getattr(choice.delta, "reasoning_content", None) or ""
                seen["finish"] = choice.finish_reason or seen["finish"]
                for call in choice.delta.tool_calls or []:
                    name, arguments = calls.get(call.index, ["", ""])
                    calls[call.index] = [name + (call.function.name or ""), arguments + (call.function.arguments or "")]
            if stops and seen["text"]:
                return
    seen["tools"] = [[name, json.loads(arguments)] for name, arguments in calls.values()]


def _chat_whole(answer: Any, seen: Seen) -> None:
    (choice,) = answer.choices
    seen["text"], seen["finish"] = choice.message.content, choice.finish_reason
    seen["reasoning"] = getattr(choice.message, "reasoning_content", "")
    seen["usage"] = [answer.usage.prompt_tokens, answer.usage.completion_tokens]


def _response_stream(sdk: Any, asked: Any, seen: Seen, *, stops: bool) -> None:
    with sdk.responses.create(**asked, stream=True) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                seen["text"] += event.delta
            if event.type in ("response.completed", "response.failed", "response.incomplete"):
                _response_end(event.response, seen)
            if stops and seen["text"]:
                return


def _response_end(answer: Any, seen: Seen) -> None:
    seen["finish"] = answer.status
    if answer.usage:
        seen["usage"] = [answer.usage.input_tokens, answer.usage.output_tokens]
    for item in answer.output:
        if item.type == "reasoning":
            seen["reasoning"] += "".join(part.text for part in item.summary)
        if item.type == "function_call":
            seen["tools"].append([item.name, json.loads(item.arguments)])
    if answer.error:
        seen["error"] = {"class": "response.failed", "status": None, "code": answer.error.code}


def _message_stream(sdk: Any, asked: Any, seen: Seen, *, stops: bool) -> None:
    with sdk.messages.stream(**asked) as stream:
        for text in stream.text_stream:
            seen["text"] += text
            if stops:
                return
        _message_whole(stream.get_final_message(), seen)


def _message_whole(answer: Any, seen: Seen) -> None:
    seen["text"] = "".join(block.text for block in answer.content if block.type == "text")
    seen["reasoning"] = "".join(block.thinking for block in answer.content if block.type == "thinking")
    seen["tools"] = [[block.name, block.input] for block in answer.content if block.type == "tool_use"]
    seen["finish"] = answer.stop_reason
    seen["usage"] = [answer.usage.input_tokens, answer.usage.output_tokens]
