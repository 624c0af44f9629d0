"""Which requests are tries of one request, by what their clients say of themselves.

- The SDKs of OpenAI and Anthropic (and all others that Stainless generates) count their tries in a header.
- Codex does not count, but sends its whole conversation and that conversation's name, so no two of its requests that
  are both meant are equal.
- Claude Code sends its whole conversation too. It counts none of its own tries: its SDK says 0 each time. Its agents
  work in one session at the same time, and may ask the same, so a request is one agent's.
"""

from __future__ import annotations

from typing import Any

from flask import request

from spool.jobs.repeats import Joins

COUNT = "X-Stainless-Retry-Count"
_DIGITS_AT_MOST = 9
_CODEX = "codex"
_CLAUDE_SESSION, _CLAUDE_AGENT = "X-Claude-Code-Session-Id", "X-Claude-Code-Agent-Id"


def joins_of(data: Any) -> Joins | None:
    """The jobs that this request may get instead of a new one; None if nothing tells its tries apart."""
    count = _count()
    if _CLAUDE_SESSION in request.headers:
        return Joins.RECENT
    if count is not None:
        return Joins.RECENT if count else Joins.NONE
    return Joins.RECENT if _is_codex() and isinstance(data, dict) and data.get("prompt_cache_key") else None


def asking() -> str:
    """The part of the client that asks, for clients whose parts may ask the same at the same time; else empty."""
    if _CLAUDE_SESSION not in request.headers:
        return ""
    return f"{request.headers[_CLAUDE_SESSION]}\n{request.headers.get(_CLAUDE_AGENT, '')}\n"


def is_counted() -> bool:
    """Whether the client would count another try of this request."""
    return _count() is not None


def _count() -> int | None:
    value = request.headers.get(COUNT, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) <= _DIGITS_AT_MOST else None


def _is_codex() -> bool:
    return any(request.headers.get(name, "").lower().startswith(_CODEX) for name in ("Originator", "User-Agent"))
