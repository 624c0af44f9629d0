"""Valid requests, which the fuzz makes wrong: bodies, queries, headers, ids, WebSocket messages."""

from __future__ import annotations

from typing import Any

FAST: dict[str, Any] = {"tokens": 2, "rate": 0, "first_token_s": 0}
TEXT_PART = {"type": "text", "text": "Hi"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [TEXT_PART, IMAGE]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "rain"},
]


def jobs(ended: str) -> list[Any]:
    """Bodies of ``POST /jobs``."""
    return [
        {"prompt": "Hi", "params": FAST},
        {"messages": MESSAGES, "params": FAST},
        {
            "prompt": "Hi",
            "model": "demo",
            "params": {**FAST, "tools": [CHAT_TOOL], "tool_choice": "auto", "response_format": FORMAT, "seed": 1},
            "priority": "batch",
            "metadata": {"k": "v"},
            "ttl_s": 60,
            "timeout_s": 30.5,
            "on_disconnect": "continue",
            "on_worker_loss": "restart",
            "coalesce": {"ms": 10, "chars": 100, "sentence_end": True},
        },
        {"prompt": "And then?", "continue_from": ended, "params": FAST},
    ]


def responses(ended: str) -> list[Any]:
    """Bodies of ``POST /v1/responses``."""
    tool = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}
    more = {"model": "demo", "rate": 0, "first_token_s": 0, "tokens": 2}
    return [
        {"input": "Hi", **more},
        {"input": "Hi", "stream": True, "background": True, "store": False, "metadata": {"k": "v"}, **more},
        {
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
                {"role": "user", "content": [{"type": "input_image", "image_url": "data:,", "detail": "low"}]},
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "rain"},
                {"type": "reasoning", "id": "rs_1", "summary": []},
                {"type": "item_reference", "id": f"msg_{ended}_0"},
            ],
            "instructions": "Be brief.",
            "tools": [tool],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "weather"}],
            },
            "include": ["reasoning.encrypted_content"],
            **more,
        },
        {
            "input": "Hi",
            "previous_response_id": f"resp_{ended}",
            "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "low"},
            "reasoning": {"effort": "low"},
            "tool_choice": {"type": "function", "name": "weather"},
            "tools": [tool],
            "truncation": "disabled",
            "max_output_tokens": 5,
            **more,
        },
    ]


def completions(_ended: str) -> list[Any]:
    """Bodies of ``POST /v1/chat/completions``."""
    more = {"model": "demo", "rate": 0, "first_token_s": 0, "tokens": 2}
    return [
        {"messages": MESSAGES, **more},
        {"messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}, **more},
        {
            "messages": MESSAGES[:1],
            "tools": [CHAT_TOOL],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "response_format": FORMAT,
            "n": 1,
            "modalities": ["text"],
            "metadata": {"k": "v"},
            **more,
        },
    ]


def other_endpoints(_ended: str) -> list[Any]:
    """Bodies of ``POST /v1/embeddings``, ``/v1/images/generations`` and ``/v1/completions``, all in one."""
    more = {"model": "demo", "rate": 0, "first_token_s": 0, "max_tokens": 2}
    return [
        {"input": "Hi", "prompt": "Hi", "encoding_format": "base64", "dimensions": 4, **more},
        {"input": ["Hi", "Ho"], "prompt": "Hi", "n": 2, "metadata": {"k": "v"}, "spool": {"fairness_key": "k"}, **more},
        {"input": [[1, 2], [3]], "prompt": "Hi", "user": "u", **more},
    ]


def chats(_ended: str) -> list[Any]:
    """Bodies of ``POST /ai/chat``."""
    call = {"type": "tool-weather", "toolCallId": "c1", "state": "output-available", "input": {}, "output": "rain"}
    file = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AAAA", "filename": "a.png"}
    user = {"id": "m1", "role": "user", "parts": [TEXT_PART, file]}
    answer = {"id": "m2", "role": "assistant", "parts": [{"type": "step-start"}, TEXT_PART, call]}
    return [
        {"id": "c", "messages": [user], "params": FAST},
        {"id": "c", "messages": [user, answer], "trigger": "submit-message", "messageId": "m2", "params": FAST},
        {"id": "c", "messages": [user, answer, user], "trigger": "regenerate-message", "system": "x", "params": FAST},
    ]


def stops(ended: str) -> list[Any]:
    """Bodies of ``POST /ai/chat/{id}/stop``."""
    return [{}, {"activeStreamId": ended}, {"assistantMessage": {"id": "m2"}, "messageId": "m1"}]


def socket_messages(ended: str) -> list[Any]:
    """Messages of ``/ws``, of a job's own socket and of the one on ``/v1/responses``."""
    return [
        *({"type": "response.create", **body} for body in responses(ended)),
        {"type": "submit", "ref": "r", "prompt": "Hi", "params": FAST},
        {"type": "submit", "messages": MESSAGES, "params": FAST, "metadata": {"k": "v"}, "priority": "batch"},
        {"type": "follow", "job": ended, "after": 0},
        {"type": "unfollow", "job": ended},
        {"type": "cancel", "job": ended},
        {"type": "cancel"},
        *({"type": kind, "batch": f"b0-{ended[3:]}"} for kind in ("follow", "unfollow", "cancel")),
    ]


def links(_ended: str) -> list[Any]:
    """Bodies of ``POST /jobs/{id}/links`` and ``/batches/{id}/links``."""
    return [{}, {"scope": ["stream"], "ttl_s": 60}]


def tokens(ended: str) -> list[Any]:
    """Bodies of ``POST /tokens``."""
    return [{"scope": {"job": ended}, "cancel": True, "ttl_s": 60}, {"scope": {"conversation": "c"}}]


def empty(_ended: str) -> list[Any]:
    """A body without fields, for a call that takes none."""
    return [{}]


QUERIES = {
    "after": ["0", "1", "3", "-1", "9" * 18, "9" * 3900, "1.5", "0x1", "²", "٣", "", "%00", "%ff", "in0", "a b"],
    "wait": ["0", "0", "0", "999999999", "9" * 3900, "-1", "x"],
    "limit": ["1", "100", "1000", "0", "9" * 3900, "²", "1e3", ""],
    "linger_ms": ["0", "1000", "-1", "x"],
    "status": ["queued", "ended", "", "%00", "x" * 3000],
    "batch": ["b0-" + "0" * 26, "%00", "x" * 3000, "*", "{0}"],
    "cursor": ["0", "9" * 18, "9" * 19, "-1", "x"],
    "offset": ["-1", "now", "0" * 18, "0" * 17 + "3", "9" * 18, "", "²" * 18, "0" * 3900, "%00"],
    "live": ["sse", "long-poll", "x", ""],
    "ping": ["1", "0", "x"],
    "stream": ["true", "1", "false", "x"],
    "starting_after": ["0", "5", "-1", "9" * 12, "9" * 3900, "x"],
    "created_after": ["2026-11-30T09:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "20261130"],
    "created_before": ["2026-11-30T09:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "-1", "x"],
    "metadata": ["a", "a=b", "=", "a=" + "b" * 600, "%00=%ff", "a" * 65],
    "from": ["2026-11-01", "0001-01-01", "9999-12-31", "2026-02-30", "20261101", ""],
    "to": ["2026-11-30", "0001-01-01", "9999-12-31", "x"],
    "group": ["day", "day,day", ",", "x", "day,model,owner,credential"],
    "heartbeat": ["event", "comment", "x"],
    "snapshot": ["1", "0", "2"],
    "has": ["x" * 201, "msg_1", "%00"],
    "conversation": ["%00", "x" * 3000],
    "purpose": ["batch_output", "batch", "x" * 101],
    "startIndex": ["0", "3", "-1", "9" * 9, "9" * 3900, "x"],
    "order": ["asc", "desc", "x"],
}
HEADERS = {
    "Accept": [
        "*/*",
        "text/event-stream",
        "application/x-ndjson",
        "text/plain",
        "",
        "x",
        "text/event-stream;q=x",
        "*/*;q=0",
    ],
    "Prefer": ["wait=0", 'wait="0"', "wait=", "wait=" + "9" * 4500, 'wait="', "respond-async, wait=0"],
    "Idempotency-Key": ["k", "k" * 255, "k" * 256, "\x80\xff", "\t"],
    "Last-Event-ID": ["0", "2", "-1", "9" * 5000, "x", "²", "j0-" + "0" * 26 + "/1", "j0-/", "/", "j0-x/" + "9" * 70],
    "anthropic-version": ["2023-06-01", "x", ""],
    "MCP-Protocol-Version": ["2025-06-18", "2025-11-25", "2025-11-25", "2026-07-28", "x", ""],
    "x-stainless-retry-count": ["0", "1", "-1", "x", "9" * 40],
    "X-Spool-On-Disconnect": ["cancel", "continue", "x", ""],
    "If-None-Match": ["*", 'W/"x"', '"', '"x", ' * 1000],
    "If-Modified-Since": ["x", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Jan 99999 00:00:00 GMT"],
    "Range": ["bytes=0-1", "bytes=" + "0-1," * 1500, "bytes=-9" + "9" * 4000, "x=1"],
    "Origin": ["null", "http://[::1", "//", "http://127.0.0.1:99999", "https://evil.example", ""],
    "Sec-Fetch-Site": ["same-origin", "cross-site", "none", "x"],
    "Authorization": ["Bearer x", "Basic !", "Digest " + "a=b," * 1500, "x", ""],
    "Content-Encoding": ["gzip", "identity", "x, y", ""],
    "Content-Type": [
        "application/json",
        "application/x-ndjson",
        "text/plain",
        "application/json;charset=x",
        "application/json; charset=utf-16",
        "application/json; charset=" + "u" * 3000,
        "x",
        '"',
        "",
    ],
    "Transfer-Encoding": ["chunked", "gzip", "chunked, chunked", "x"],
    "Expect": ["100-continue", "x"],
    "Host": ["evil.example", "[::1", "127.0.0.1:x", "a b", "", "127.0.0.1:99999"],
    "Cookie": ["a=b", "=;;;" * 1500, "\xff"],
    "Upgrade": ["websocket", "h2c", "x"],
    "Connection": ["Upgrade", "close", "x, y"],
    "SCRIPT_NAME": ["/x"],
    "PATH_INFO": ["/x"],
    "X-Forwarded-Proto": ["https", "x"],
    "X-Forwarded-For": ["1.2.3.4", "x"],
    "X-HTTP-Method-Override": ["DELETE"],
    "Accept-Encoding": ["gzip", "x"],
    "Accept-Language": ["*;q=x", "a," * 3000],
}
IDS = [
    "j0-" + "0" * 26,
    "b0-" + "0" * 26,
    "j1-" + "0" * 26,
    "j99999-0",
    "x",
    "%00",
    "%ff",
    "..%2f..",
    "*",
    "{0}",
    "j0-" + "z" * 3000,
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO"]
SOCKET_HEADERS = {
    "Sec-WebSocket-Protocol": ["spool.json", "spool.text", "x", "spool.text, spool.json", ",", '"', "x," * 2000],
    "Sec-WebSocket-Version": ["13", "8", "x", ""],
    "Sec-WebSocket-Key": ["x", "", "AAAA"],
    "Sec-WebSocket-Extensions": [
        "permessage-deflate",
        "permessage-deflate; server_max_window_bits=x",
        "permessage-deflate; client_max_window_bits=99",
        "permessage-deflate; x; =;",
        "x-webkit-deflate-frame",
        ";,;",
    ],
    "Origin": HEADERS["Origin"],
}
