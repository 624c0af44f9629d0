"""Requests to ``/ai/chat`` as the AI SDK makes them, and the streams that answer them."""

from __future__ import annotations

from typing import Any

import httpx
import orjson

WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def asked(chat: str, params: dict[str, Any], *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The body of a request, as ``DefaultChatTransport`` makes it."""
    said = parts or ({"type": "text", "text": "What is a spool?"},)
    messages = [{"id": "u1", "role": "user", "parts": list(said)}]
    return {"id": chat, "messages": messages, "trigger": "submit-message", "params": params, "model": "demo", **more}


def chunks_of(text: str) -> list[dict[str, Any]]:
    """The chunks of a whole stream, after the rules for its bytes."""
    blocks = [block for block in text.split("\n\n") if not block.startswith(":")]
    assert blocks[-2:] == ["data: [DONE]", ""]
    assert all(block.startswith("data: {") for block in blocks[:-2])
    return [orjson.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


def text_of(chunks: list[dict[str, Any]]) -> str:
    """The text that the chunks add up to."""
    return "".join([chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta"])


def begun(client: httpx.Client, body: dict[str, Any], **headers: str) -> str:
    """The id of a job that was begun by a client which left once it had some text."""
    with client.stream("POST", "/ai/chat", json=body, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if "text-delta" in line:
                break
        return answer.headers["X-Spool-Job"]
