"""Probes whether a model continues partial answers, by requesting one answer twice.

The first call requests the whole answer, the second passes its first half and requests the rest. Both must join to the
same text. They do not if the server:

- ignores the half and restarts;
- greets first;
- repeats the half;
- drops or adds a space.

An answer that varies between calls fails the probe too. That only costs a restart from scratch for its jobs.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace

from spool.deadline import Deadline
from spool.models.model import Model
from worker.backends import (
    Alive,
    BackendError,
    CannotContinue,
    Complete,
    Finish,
    GenerationRequest,
    Piece,
    Text,
    Usage,
    Waiting,
)
from worker.backends.openai.continuing import Ask, go_on

_QUESTION = "Write the numbers from one to forty in English words, separated by commas, and nothing else."
_TOKENS = 48
"""Fewer than the answer has, so that the probe also checks the token limit."""
_SHOWN_CHARACTERS = 60
_UNDECIDED = ("upstream_unavailable", "upstream_refused", "upstream_interrupted", "upstream_garbage")
"""Errors without a verdict on the model: it was away, or sent no valid answer."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The result of a probe. ``joins``: the model continues partial answers; if not, ``seen`` describes what it did."""

    joins: bool
    seen: str = ""
    at: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        """Its age in seconds."""
        return time.monotonic() - self.at


def probe(ask: Ask, model: Model, deadline: Deadline) -> Generator[Piece, None, Proof]:
    """Run the probe; yields only ``Waiting``. Raises ``BackendError`` if the upstream is away, which is no verdict."""
    messages = [{"role": "user", "content": _QUESTION}]
    params = {"temperature": 0, "max_tokens": _TOKENS}
    request = GenerationRequest("probe", model, messages, params, deadline=deadline)
    try:
        texts, finish = yield from _answer(ask(request))
        whole, half = "".join(texts), _half(texts, finish)
        rest, _ = yield from _answer(go_on(ask, replace(request, prefix=half)))
    except BackendError as exc:
        if exc.code in _UNDECIDED:
            raise
        return Proof(joins=False, seen=exc.message)
    return _verdict(whole, half, "".join(rest))


def _answer(pieces: Generator[Piece, None, None]) -> Generator[Piece, None, tuple[list[str], str]]:
    """The texts of an answer, and its finish reason. Raises ``CannotContinue`` if it has other pieces than text."""
    texts, finish = [], ""
    with closing(pieces):
        for piece in pieces:
            if isinstance(piece, Waiting):
                yield piece
            elif isinstance(piece, Text):
                texts.append(piece.text)
            elif isinstance(piece, Finish):
                finish = piece.reason
            elif not isinstance(piece, Usage | Alive | Complete):
                raise CannotContinue(f"its answers contain other pieces than text ({type(piece).__name__})")
    return texts, finish


def _half(texts: list[str], finish: str) -> str:
    """The first half, cut between two pieces as an interrupted answer is, or else between two words."""
    whole = "".join(texts)
    half = "".join(texts[: len(texts) // 2]) or whole[: whole.rfind(" ", 0, len(whole) // 2 + 1) + 1].rstrip()
    rest = whole[len(half) :]
    if finish != "length" or not half.strip() or len(rest.strip()) < 2:
        raise CannotContinue(f"its answer is too short to tell: {_shown(whole)}")
    if whole.startswith(rest.lstrip()):
        # A server that restarts would send the same text.
        raise CannotContinue(f"its answer repeats itself: {_shown(whole)}")
    return half


def _verdict(whole: str, half: str, rest: str) -> Proof:
    expected = whole[len(half) :]
    if rest == expected:
        return Proof(joins=True)
    if not rest.strip():
        did = "sent nothing after"
    elif rest.strip().startswith(half.strip()) or half.strip().startswith(rest.strip()):
        did = "restarted or repeated"
    elif rest.strip() == expected.strip():
        did = "changed the white space after"
    elif expected.startswith(rest) or rest.startswith(expected):
        did = "did not keep the token limit after"
    else:
        did = "did not continue"
    return Proof(joins=False, seen=f"it {did} {_shown(half)}: {_shown(rest)} instead of {_shown(expected)}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
