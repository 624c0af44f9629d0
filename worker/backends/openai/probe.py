"""Finds out whether a model goes on from a partial answer, by asking it for one answer twice.

Once as a whole; then, given its first half as a text to go on from, the rest. The two must join: what a server does
that ignores the half, greets, says it again or leaves out a space, does not. So does nothing that depends on chance:
an answer that is not the same twice proves nothing, and costs only that jobs begin anew.
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
"""Fewer than the answer has, so that the limit of tokens has its part in the proof."""
_SHOWN_CHARACTERS = 60
_UNDECIDED = ("upstream_unavailable", "upstream_interrupted", "upstream_garbage")
"""Errors that say nothing about the model: it was not there, or what came was no answer."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a probe found. ``joins``: the model goes on from a partial answer; if not, ``seen`` says what it did."""

    joins: bool
    seen: str = ""
    at: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        """How long ago it was."""
        return time.monotonic() - self.at


def probe(ask: Ask, model: Model, deadline: Deadline) -> Generator[Piece, None, Proof]:
    """Ask; yields only ``Waiting``. Raises ``BackendError`` where the upstream is away, which is no answer."""
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
    """The texts of an answer, and why it ended. Raises ``CannotContinue`` if it is more than text."""
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
                raise CannotContinue(f"its answers are more than text ({type(piece).__name__})")
    return texts, finish


def _half(texts: list[str], finish: str) -> str:
    """The first half, cut where an answer breaks off: between two pieces, or else between two words."""
    whole = "".join(texts)
    half = "".join(texts[: len(texts) // 2]) or whole[: whole.rfind(" ", 0, len(whole) // 2 + 1) + 1].rstrip()
    rest = whole[len(half) :]
    if finish != "length" or not half.strip() or len(rest.strip()) < 2:
        raise CannotContinue(f"its answer is too short to tell: {_shown(whole)}")
    if whole.startswith(rest.lstrip()):
        # A server that begins anew would say the same.
        raise CannotContinue(f"its answer repeats itself: {_shown(whole)}")
    return half


def _verdict(whole: str, half: str, rest: str) -> Proof:
    expected = whole[len(half) :]
    if rest == expected:
        return Proof(joins=True)
    if not rest.strip():
        did = "said nothing after"
    elif rest.strip().startswith(half.strip()) or half.strip().startswith(rest.strip()):
        did = "began anew, or said again"
    elif rest.strip() == expected.strip():
        did = "changed the white space after"
    elif expected.startswith(rest) or rest.startswith(expected):
        did = "did not keep the limit of tokens after"
    else:
        did = "did not go on from"
    return Proof(joins=False, seen=f"it {did} {_shown(half)}: {_shown(rest)} where {_shown(expected)} was to come")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
