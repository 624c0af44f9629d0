"""The errors of an upstream, as each vendor's protocol reports them: the status, and the error object."""

from __future__ import annotations

from typing import Any

Fault = tuple[int, dict[str, Any]]

OPENAI: dict[str, Fault] = {
    "context": (400, {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}),
    "filter": (400, {"message": "filtered", "type": "invalid_request_error", "code": "content_filter"}),
    "quota": (429, {"message": "no money", "type": "insufficient_quota", "code": "insufficient_quota"}),
    "model": (404, {"message": "gone", "type": "invalid_request_error", "code": "model_not_found"}),
    "key": (401, {"message": "wrong key", "type": "invalid_request_error", "code": "invalid_api_key"}),
    "overloaded": (503, {"message": "busy", "type": "server_error", "code": "server_overloaded"}),
}
"""Chat completions and responses. https://platform.openai.com/docs/guides/error-codes"""

ANTHROPIC: dict[str, Fault] = {
    "context": (400, {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}),
    "filter": (400, {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}),
    "quota": (429, {"type": "rate_limit_error", "message": "This would exceed your rate limit"}),
    "model": (404, {"type": "not_found_error", "message": "model: gone"}),
    "key": (401, {"type": "authentication_error", "message": "invalid x-api-key"}),
    "overloaded": (529, {"type": "overloaded_error", "message": "Overloaded"}),
}
"""Messages. https://docs.anthropic.com/en/api/errors"""
