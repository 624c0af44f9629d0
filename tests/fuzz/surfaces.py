"""Valid bodies for the surfaces of other clients, for OpenAI's conversations, and for lines of an open batch."""

from __future__ import annotations

from typing import Any

from tests.fuzz.examples import CALL, CHAT_TOOL, FAST, SCHEMA, TEXT_PART


def messages(_ended: str) -> list[Any]:
    """Bodies of ``POST /v1/messages`` and ``/v1/messages/count_tokens``."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    use = {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": [TEXT_PART, image], "is_error": False}
    turns = [
        {"role": "user", "content": [TEXT_PART, {**image, "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": ""}, use]},
        {"role": "user", "content": [result]},
    ]
    more = {"model": "demo", "max_tokens": 2, "rate": 0, "first_token_s": 0}
    tool = {"name": "weather", "description": "d", "input_schema": SCHEMA}
    return [
        {"messages": [{"role": "user", "content": "Hi"}], "stream": True, **more},
        {"messages": turns, "system": [TEXT_PART], "tools": [tool], "tool_choice": {"type": "auto"}, **more},
        {
            "messages": turns[:1],
            "tools": [tool, {"type": "web_search_20250305", "name": "web_search"}],
            "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "stop_sequences": ["x"],
            "metadata": {"user_id": "u"},
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
            **more,
        },
    ]


def ollama(_ended: str) -> list[Any]:
    """Bodies of ``POST /api/chat``, ``/api/generate`` and ``/api/show``, all in one."""
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    turns = [
        {"role": "user", "content": "Hi", "images": ["iVBORw0AAAA"]},
        {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call]},
        {"role": "tool", "tool_name": "weather", "content": "rain"},
    ]
    options = {"num_predict": 2, "temperature": 0.5, "top_k": 4, "stop": ["x"], "num_ctx": 4096}
    more = {"model": "demo", "options": options, "keep_alive": "5m"}
    return [
        {"messages": turns, "prompt": "Hi", "tools": [CHAT_TOOL], "think": True, **more},
        {
            "messages": turns[:1],
            "prompt": "Hi",
            "system": "x",
            "stream": False,
            "format": SCHEMA,
            "think": "low",
            **more,
        },
        {"messages": [], "prompt": "", "images": [], "format": "json", "spool": {"fairness_key": "k"}, **more},
    ]


def runs(_ended: str) -> list[Any]:
    """Bodies of ``POST /agui``."""
    source = {"type": "data", "mimeType": "image/png", "value": "AAAA"}
    turns = [
        {"id": "m1", "role": "user", "content": [TEXT_PART, {"type": "image", "source": source}]},
        {"id": "m2", "role": "assistant", "content": "", "toolCalls": [CALL]},
        {"id": "m3", "role": "tool", "toolCallId": "c1", "content": "rain"},
    ]
    run = {"threadId": "t", "runId": "r", "state": {}}
    props = {"model": "demo", "params": FAST}
    return [
        {**run, "messages": turns[:1], "tools": [], "context": [], "forwardedProps": props},
        {
            **run,
            "messages": turns,
            "tools": [{"name": "weather", "description": "d", "parameters": SCHEMA}],
            "context": [{"description": "d", "value": "v"}],
            "forwardedProps": {**props, "spool": {"fairness_key": "k"}},
        },
    ]


def mcp_calls(ended: str) -> list[Any]:
    """Bodies of ``POST /mcp``."""
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    submit = {"name": "submit_job", "arguments": {"prompt": "Hi", "model": "demo", "params": FAST, "wait_s": 0}}
    calls = [
        ("initialize", client),
        ("ping", {}),
        ("tools/list", {"cursor": None}),
        ("tools/call", submit),
        ("tools/call", {"name": "get_job", "arguments": {"job": ended, "wait_s": 0}}),
        ("tools/call", {"name": "cancel_job", "arguments": {"job": ended}}),
        ("tools/call", {"name": "list_models"}),
        ("tools/call", {**submit, "task": {"ttl": 1}}),
        ("tasks/get", {"taskId": ended}),
        ("tasks/result", {"taskId": ended}),
        ("tasks/cancel", {"taskId": ended}),
        ("tasks/list", {"cursor": "5"}),
    ]
    notice = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    asked = [{"jsonrpc": "2.0", "id": 1, "method": method, "params": params} for method, params in calls]
    return [*asked, notice, [*asked[:1], notice]]


def conversations(_ended: str) -> list[Any]:
    """Bodies of ``POST /v1/conversations``, of its metadata and of its items, all in one."""
    turns = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ]
    return [{"items": turns, "metadata": {"k": "v"}}, {"items": turns[:1]}, {"metadata": {}}]


def lines(_ended: str) -> list[Any]:
    """Bodies of ``POST /batches/{id}/lines``."""
    return [[{"prompt": "Hi", "params": FAST}], [{"messages": [{"role": "user", "content": "Hi"}]}] * 2]
