"""The backend against a server that is not ours; serve.py beside this file says how to install it."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from spool.deadline import Deadline
from spool.models.model import Model, Upstream
from worker.backends import Finish, GenerationRequest, Piece, Text, Usage
from worker.backends.openai.backend import OpenAICompatible
from worker.models.discovery import discover


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
    assert first[-2:] == [Usage(19, 200), Finish("length")]
    assert text_of(first) == text_of(second)
    assert len(text_of(first)) == 200


def test_real_upstream_goes_on_from_anywhere(upstream: Upstream) -> None:
    """From wherever it broke off, also before and after white space, a greedy answer goes on to the text, the usage and
    the end of an unbroken one."""
    (model,) = discover(upstream)
    model = replace(model, continue_style="assistant")
    with closing(OpenAICompatible([upstream])) as backend:
        whole = list(backend.generate(ask(model, max_tokens=600)))
        text = text_of(whole)
        spaces = [at for at, character in enumerate(text) if character.isspace()][:3]
        assert spaces
        for cut in [1, 2, 299, 598, 599, *spaces, *(at + 1 for at in spaces)]:
            rest = list(backend.generate(replace(ask(model, max_tokens=600), prefix=text[:cut])))
            assert text[:cut] + text_of(rest) == text, cut
            assert rest[-2:] == whole[-2:]


@pytest.mark.parametrize(("style", "joins"), [("assistant", True), ("vllm", False), ("mistral", False)])
def test_real_upstream_is_asked_in_its_own_way(upstream: Upstream, style: str, joins: bool) -> None:
    """The probe finds out which way of asking is the server's: it refuses parameters that it does not know, and does
    not say the text again."""
    (model,) = discover(upstream)
    with closing(OpenAICompatible([upstream])) as backend:
        probing = backend.prove(replace(model, continue_style=style), Deadline.after(60))
        assert list(probing) == []
        proof = backend.proof(replace(model, continue_style=style))
    assert proof is not None
    print(f"{style}: {proof.seen or 'joins'}")
    assert proof.joins is joins


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
