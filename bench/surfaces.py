"""The surfaces that stream text: one request for tokens of the stand-in, and where its answer has them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_MODEL, _PROMPT = "stand-in", "bench"
_MESSAGES = [{"role": "user", "content": _PROMPT}]
_MOST_BYTES = 80
"""No mark of a token is longer."""


@dataclass(frozen=True)
class Surface:
    """``body`` makes the request for N tokens; ``number`` tells requests apart that Spool would take for one.
    ``field``: what stands before each token's text, and before nothing else."""

    path: str
    field: bytes
    body: Callable[[int, int], dict[str, Any]]
    headers: str = ""

    def request(self, port: int, tokens: int, number: int) -> bytes:
        """The bytes of the request."""
        raw = json.dumps(self.body(tokens, number)).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{self.headers}"
        )
        return f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw

    def tokens(self) -> Tokens:
        """A reader of one answer."""
        return Tokens(re.compile(re.escape(self.field) + rb'"(\d{16}) "'))


class Tokens:
    """Finds the tokens in the bytes of one answer, each once, however the bytes are divided."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self._rest = b""
        self.count = 0

    def add(self, data: bytes) -> list[int]:
        """The times at which the next tokens were due, us since the epoch."""
        data = self._rest + data
        found = list(self._pattern.finditer(data))
        self._rest = data[max(found[-1].end() if found else 0, len(data) - _MOST_BYTES) :]
        self.count += len(found)
        return [int(match[1]) for match in found]


def _chat(tokens: int, _: int) -> dict[str, Any]:
    return {"model": _MODEL, "messages": _MESSAGES, "stream": True, "max_tokens": tokens}


def _responses(tokens: int, _: int) -> dict[str, Any]:
    return {"model": _MODEL, "input": _PROMPT, "stream": True, "max_output_tokens": tokens}


def _completions(tokens: int, _: int) -> dict[str, Any]:
    return {"model": _MODEL, "prompt": _PROMPT, "stream": True, "max_tokens": tokens}


def _ollama(tokens: int, _: int) -> dict[str, Any]:
    return {"model": _MODEL, "messages": _MESSAGES, "options": {"num_predict": tokens}}


def _ai(tokens: int, number: int) -> dict[str, Any]:
    message = {"id": f"m{number}", "role": "user", "parts": [{"type": "text", "text": _PROMPT}]}
    return {"id": f"c{number}", "messages": [message], "model": _MODEL, "params": {"max_tokens": tokens}}


def _jobs(tokens: int, _: int) -> dict[str, Any]:
    return {"prompt": _PROMPT, "model": _MODEL, "params": {"max_tokens": tokens}}


DIRECT = Surface("/v1/chat/completions", b'"content":', _chat)
"""What Spool sends to the model server for each of the others."""

SURFACES = {
    "/v1/chat/completions": DIRECT,
    "/v1/responses": Surface("/v1/responses", b'"delta":', _responses),
    "/v1/messages": Surface("/v1/messages", b'"text":', _chat),
    "/v1/completions": Surface("/v1/completions", b'"text":', _completions),
    "/ai/chat": Surface("/ai/chat", b'"delta":', _ai),
    "/api/chat": Surface("/api/chat", b'"content":', _ollama),
    "/jobs, SSE": Surface("/jobs", b'"text":', _jobs, "Accept: text/event-stream\r\n"),
}
