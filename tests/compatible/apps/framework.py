"""What a framework is checked for: ``NAME.py URL``, where URL is a Spool before scripted upstreams.

A framework is an object with ``whole``, ``stream`` and ``tool``; its errors are its own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Protocol

from cases import report
from relay import Relay

URL = sys.argv[1]
PROMPT = "What is a spool?"
TOOL_PROMPT = "Ask get_weather about Oslo"
RESULT = "18 degrees in Oslo"
CUT_AFTER = 1500
"""Bytes of an answer: its head and some events."""


class Framework(Protocol):
    """What the checks need. ``base``: the URL up to ``/v1``."""

    def whole(self, base: str, model: str, prompt: str) -> str:
        """A whole answer."""

    def stream(self, base: str, model: str, prompt: str) -> Iterator[str]:
        """The pieces of a streamed answer."""

    def tool(self, base: str) -> str:
        """The answer of an agent that calls ``get_weather`` for ``TOOL_PROMPT``."""


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"18 degrees in {city}"


def base_of(relay: Relay) -> str:
    """The base URL at a relay."""
    return f"{relay.url}/v1"


def check(framework: Framework) -> None:
    """Run the checks, and print their outcomes."""
    report(*checks_of(framework))


def checks_of(framework: Framework) -> list[Callable[[], None]]:
    """The checks of a framework. A failed answer is one request: no client repeats it."""

    def whole() -> None:
        """An answer is whole."""
        assert PROMPT in framework.whole(base_of(Relay(URL)), "demo", PROMPT)

    def stream() -> None:
        """The pieces of a stream are many, and add up to the same."""
        pieces = list(framework.stream(base_of(Relay(URL)), "demo", PROMPT))
        assert len(pieces) > 20, pieces
        assert PROMPT in "".join(pieces)

    def tool() -> None:
        """A tool is called, and its result is in the answer."""
        answer = framework.tool(base_of(Relay(URL)))
        assert RESULT in answer, answer

    def failure() -> None:
        """A failure before the first token is an error with its code."""
        relay = Relay(URL)
        error = error_of(lambda: framework.whole(base_of(relay), "fails", "context"))
        assert "context_length_exceeded" in error, error
        assert relay.requests == 1

    def failure_of_a_stream() -> None:
        """So it is for a stream."""
        relay = Relay(URL)
        error = error_of(lambda: list(framework.stream(base_of(relay), "fails", "context")))
        assert "context_length_exceeded" in error, error
        assert relay.requests == 1

    def failure_in_a_stream() -> None:
        """A later failure is an error after the text so far."""
        relay, pieces = Relay(URL), []
        error = error_of(lambda: pieces.extend(framework.stream(base_of(relay), "fails", "later quota")))
        assert "no money" in error or "quota" in error, error
        assert relay.requests == 1

    def cut() -> None:
        """A stream whose connection is reset is an error, never a short answer."""
        relay = Relay(URL, cut_after=CUT_AFTER, cuts=9)
        error = error_of(lambda: list(framework.stream(base_of(relay), "demo", PROMPT)))
        assert error

    return [whole, stream, tool, failure, failure_of_a_stream, failure_in_a_stream, cut]


def error_of(ask: Callable[[], Any]) -> str:
    """The text of the error that asking raises, with those that caused it."""
    try:
        answer = ask()
    except Exception as raised:  # noqa: BLE001 - each framework has errors of its own
        texts, error = [], raised
        while error is not None and len(texts) < 9:
            texts.append(f"{type(error).__name__}: {error} {getattr(error, 'body', '')}")
            error = error.__cause__ or error.__context__
        return "\n".join(texts)
    raise AssertionError(f"no error: {answer!r}")


def waited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The coroutine's result, in a loop of its own."""
    return asyncio.run(coroutine)


def pieces_of(stream: Callable[[], AsyncIterator[str]]) -> Iterator[str]:
    """The pieces of an asynchronous stream, as a list that is complete; its error is raised."""

    async def collect() -> list[str]:
        return [piece async for piece in stream() if piece]

    return iter(asyncio.run(collect()))
