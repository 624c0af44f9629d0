"""An answer in a vendor's protocol: the base of chat completions, responses and messages."""

from __future__ import annotations

from typing import Any

from tests.compatible.side_by_side.faults import OPENAI
from tests.scripted_upstream import Call

INPUT_TOKENS, OUTPUT_TOKENS = 9, 7
THOUGHT = "Hm. "
SEAL = "sealed"
"""What a vendor gives instead of, or beside, the text of its reasoning, and wants back."""


class Speaker:
    """One answer. ``keeps_open``: the text so far is not the whole of it, so its item is not closed."""

    faults = OPENAI

    def __init__(self, call: Call) -> None:
        self.call = call
        self.is_stream = bool(call.body.get("stream"))

    def begin(self) -> None:
        """The beginning of a stream."""
        if self.is_stream:
            self.call.begin()

    def reason(self, text: str) -> None:
        """Reasoning, as a whole."""
        raise NotImplementedError

    def say(self, *pieces: str, keeps_open: bool = False) -> None:
        """Text in pieces."""
        raise NotImplementedError

    def ask_for(self, *names: str) -> None:
        """Calls of these tools about Oslo."""
        raise NotImplementedError

    def end(self) -> None:
        """The end with its usage."""
        raise NotImplementedError

    def break_with(self, name: str) -> None:
        """The error of this name in a stream that has begun."""
        raise NotImplementedError

    def refuse(self, name: str) -> None:
        """The error of this name instead of an answer."""
        status, error = self.faults[name]
        self.call.json(status, self.error_body(error))

    def limit(self) -> None:
        """A rate limit for a moment."""
        error = {"type": "rate_limit_error", "message": "slow down", "code": "rate_limit_exceeded"}
        self.call.json(429, self.error_body(error), {"Retry-After": "1"})

    def error_body(self, error: dict[str, Any]) -> dict[str, Any]:
        """The body of an HTTP error."""
        return {"error": error}

    @property
    def has_reasoning(self) -> bool:
        """Whether the request brings back the reasoning of its earlier turn."""
        raise NotImplementedError


def function_call(name: str) -> dict[str, Any]:
    """A call of this tool about Oslo, as chat completions have it."""
    arguments = '{"city":"Oslo"}'
    return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}
