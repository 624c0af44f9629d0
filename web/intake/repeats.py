"""Which requests are tries of one request, by what their clients say of themselves.

- The SDKs of OpenAI and Anthropic (and all others that Stainless generates) count their tries in a header.
- Codex does not count, but sends its whole conversation and that conversation's name, so no two of its requests that
  are both meant are equal.
"""

from __future__ import annotations

from typing import Any

from flask import request

from spool.jobs.repeats import Joins

COUNT = "X-Stainless-Retry-Count"
_DIGITS_AT_MOST = 9
_CODEX = "codex"


def joins_of(data: Any) -> Joins | None:
    """The jobs that this request may get instead of a new one; None if nothing tells its tries apart."""
    count = _count()
    if count is not None:
        return Joins.RECENT if count else Joins.NONE
    return Joins.RECENT if _is_codex() and isinstance(data, dict) and data.get("prompt_cache_key") else None


def is_counted() -> bool:
    """Whether the client would count another try of this request."""
    return _count() is not None


def _count() -> int | None:
    value = request.headers.get(COUNT, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) <= _DIGITS_AT_MOST else None


def _is_codex() -> bool:
    return any(request.headers.get(name, "").lower().startswith(_CODEX) for name in ("Originator", "User-Agent"))
