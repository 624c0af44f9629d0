"""The backend against a server that is not ours; serve.py beside this file says how to install it."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

from spool.models import Model, Upstream
from worker.backends import Finish, GenerationRequest, Piece, Text, Usage
from worker.backends.discovery import discover
from worker.backends.openai_compatible import OpenAICompatible


def ask(model: Model, **params: Any) -> GenerationRequest:
    messages = [{"role": "user", "content": "What is a spool?"}]
    return GenerationRequest("j1", model, messages, {"temperature": 0, **params})


def text_of(pieces: list[Piece]) -> str:
    return "".join(p.text for p in pieces if isinstance(p, Text))


def test_real_upstream_answers_greedily_the_same_twice(upstream: Upstream) -> None:
    """What discovery finds can be asked, and a greedy answer is the same each time, with its usage."""
    (model,) = discover(upstream)
    with closing(OpenAICompatible([upstream])) as backend:
        first, second = (list(backend.generate(ask(model, max_tokens=200))) for _ in range(2))
    assert first[-2:] == [Usage(10, 200), Finish("length")]
    assert text_of(first) == text_of(second)
    assert len(text_of(first)) > 200


def test_real_upstream_stops_when_a_job_is_closed(upstream: Upstream) -> None:
    """Closing the answer ends the generation: an upstream that does one at a time is free for the next at once."""
    (model,) = discover(upstream)
    with closing(OpenAICompatible([upstream])) as backend:
        long = backend.generate(ask(model, max_tokens=8000))  # more than 15 s of work
        next(long)
        long.close()  # type: ignore[attr-defined]
        began = time.monotonic()
        assert text_of(list(backend.generate(ask(model, max_tokens=5))))
    assert time.monotonic() - began < 5
