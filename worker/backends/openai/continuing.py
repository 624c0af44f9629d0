"""Continues a partial answer at an OpenAI-compatible server, so that the joined text equals one uninterrupted answer.

A server that accepts an incomplete assistant message is not enough. Four problems remain:

- Some templates (Llama's) strip white space from a message's end, and some servers refuse it there. So it is not sent,
  and its repetition by the server is dropped.
- A token limit applies to the whole answer, and only the server can count the tokens of the partial text. Two calls
  with one token of output each measure the prompt without and with that text. The usage covers the whole answer.
- A server may repeat the text before it continues (Mistral's API). An identical repetition is dropped.
- Some params (tools, a JSON schema, thinking, …) do more than choose each next token: with them the rest depends on
  more than the text. Also, the caller's own last assistant message cannot be distinguished from the answer.

Every case of doubt raises ``CannotContinue`` before anything is yielded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from spool.deadline import Deadline
from worker.backends import (
    Alive,
    BackendError,
    CannotContinue,
    Complete,
    Finish,
    GenerationRequest,
    Piece,
    Text,
    Unstreamed,
    Usage,
    Waiting,
)

Ask = Callable[[GenerationRequest], Generator[Piece, None, None]]
"""Generates from a request without a prefix."""

_MOST = ("max_tokens", "max_completion_tokens", "max_new_tokens", "n_predict")
_LEAST = ("min_tokens",)
# Frequency and presence penalties are missing: some servers do not apply them to a given partial text.
_HARMLESS = {
    *_MOST,
    *_LEAST,
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "stop", "logit_bias", "repetition_penalty"),
    *("user", "metadata", "service_tier", "store", "stream_options"),
}


def go_on(ask: Ask, request: GenerationRequest) -> Generator[Piece, None, None]:
    """Yield the answer after ``request.prefix``. Raises ``CannotContinue`` before its first piece."""
    refuse(request)
    given = request.prefix.rstrip()
    seam = Seam(given if request.model.continue_style == "mistral" else "", request.prefix[len(given) :])
    try:
        prompt, used = yield from _count(ask, request, given)
        left = _left(request.params, used)
        if any(left.get(name, 1) <= 0 for name in _MOST):
            yield Usage(prompt, used)
            yield Finish("length")
            return
        asked = _from(request, given)
        with closing(ask(replace(asked, params={**asked.params, **left}))) as pieces:
            yield from _joined(pieces, seam, prompt, used)
    except BackendError as exc:
        if exc.code == "upstream_rejected":
            raise CannotContinue(f"cannot continue the partial answer: {exc.message}") from exc
        raise


def refuse(request: GenerationRequest) -> None:
    """Raise ``CannotContinue`` if the rest of the answer depends on more than its text so far."""
    if not request.model.continue_style:
        raise CannotContinue("the model is not configured to continue partial answers")
    more = sorted(name for name, value in request.params.items() if name not in _HARMLESS and value is not None)
    if more:
        raise CannotContinue(f"cannot continue an answer with {', '.join(more[:5])}")
    if request.messages and request.messages[-1].get("role") == "assistant":
        raise CannotContinue("the prompt itself ends with an assistant message")
    stop = request.params.get("stop")
    for word in [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []:
        if any(request.prefix.endswith(str(word)[:size]) for size in range(1, len(str(word)) + 1)):
            raise CannotContinue("the partial answer may end within a stop sequence")


def in_good_time(ask: Ask, patience_s: float) -> Ask:
    """Wrap ``ask`` for several calls before the first piece: yields ``Waiting`` if they take longer than
    ``patience_s``, so that a slow upstream is not mistaken for one that does not answer."""
    patience = Deadline.after(patience_s)

    def asking(request: GenerationRequest) -> Generator[Piece, None, None]:
        nonlocal patience
        if patience.passed:
            patience = Deadline.after(patience_s)
            yield Waiting("preparing to continue the partial answer", time.time())
        yield from ask(request)

    return asking


class Seam:
    """Joins the partial text and the server's text. Drops ``again``, a repetition that must come first and be
    identical. Also drops the part of ``blank``, the white space that was not sent, that the server repeats."""

    def __init__(self, again: str, blank: str) -> None:
        self._again = again
        self._blank = blank

    @property
    def is_closed(self) -> bool:
        """Whether the expected repetition is complete."""
        return not self._again

    def feed(self, text: str) -> str:
        """The new part of ``text``. Raises ``CannotContinue`` if the repetition differs."""
        size = min(len(text), len(self._again))
        if text[:size] != self._again[:size]:
            raise CannotContinue("the upstream restarted instead of continuing the partial answer")
        self._again, text = self._again[size:], text[size:]
        while text and self._blank and text[0] == self._blank[0]:
            self._blank, text = self._blank[1:], text[1:]
        if text:
            self._blank = ""
        return text


def _from(request: GenerationRequest, given: str) -> GenerationRequest:
    """The request that continues ``given``, in the server's own style."""
    if not given:
        return replace(request, prefix="")
    style = request.model.continue_style
    message: dict[str, Any] = {"role": "assistant", "content": given}
    params = dict(request.params)
    if style == "vllm":
        params |= {"continue_final_message": True, "add_generation_prompt": False}
    elif style in ("prefix", "mistral"):
        message["prefix"] = True
    return replace(request, messages=[*request.messages, message], params=params, prefix="")


def _count(ask: Ask, request: GenerationRequest, given: str) -> Generator[Piece, None, tuple[int, int]]:
    """Count the tokens of the prompt and of ``given``."""
    prompt = yield from _prompt_tokens(ask, _from(request, ""))
    if not given:
        return prompt, 0
    whole = yield from _prompt_tokens(ask, _from(request, given))
    if whole <= prompt:
        raise CannotContinue("the upstream does not count the tokens of the partial answer")
    return prompt, whole - prompt


def _prompt_tokens(ask: Ask, request: GenerationRequest) -> Generator[Piece, None, int]:
    params = {name: value for name, value in request.params.items() if name not in (*_MOST, *_LEAST)}
    limit = next((name for name in _MOST if name in request.params), _MOST[0])
    found = None
    with closing(ask(replace(request, params={**params, limit: 1}))) as pieces:
        for piece in pieces:
            if isinstance(piece, Waiting | Alive | Unstreamed):
                yield piece
            elif isinstance(piece, Usage):
                found = piece.input_tokens
    if found is None:
        raise CannotContinue("the upstream does not report the prompt's tokens")
    return found


def _left(params: Mapping[str, Any], used: int) -> dict[str, int]:
    """The remaining limits of ``params`` after ``used`` tokens."""
    limits = {name: params.get(name) for name in (*_MOST, *_LEAST)}
    return {name: max(0, value - used) for name, value in limits.items() if type(value) is int and value > 0}


def _joined(pieces: Iterator[Piece], seam: Seam, prompt: int, used: int) -> Iterator[Piece]:
    began = False
    for piece in pieces:
        if isinstance(piece, Text):
            new = seam.feed(piece.text)
            if new:
                began = True
                yield Text(new)
        elif isinstance(piece, Usage):
            yield Usage(prompt, piece.output_tokens + used)
        elif isinstance(piece, Finish):
            if not seam.is_closed:
                raise CannotContinue("the upstream restarted instead of continuing the partial answer")
            yield piece
        elif isinstance(piece, Complete):
            if seam.is_closed:
                yield piece
        elif began or isinstance(piece, Waiting | Alive | Unstreamed):
            yield piece
        else:
            raise CannotContinue("the upstream sent something else before continuing the partial answer")
