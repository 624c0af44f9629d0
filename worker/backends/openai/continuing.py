"""Goes on from a partial answer at an OpenAI-compatible server, so that the joined text is what one answer would be.

Four things stand between "the server takes an assistant message that breaks off" and that:

- Templates cut white space off a message's end (Llama's), and some servers refuse it there. So it is not sent, and
  what the server says again of it is dropped.
- A limit of tokens is for the whole answer. How many of them the text so far is only the server knows: it is asked
  for the prompt's size without and with that text, for an answer of one token each. The usage is the whole answer's.
- A server may say the text again before it goes on (Mistral's API): it is dropped, if it is the same.
- With params other than those that choose each next token (tools, a JSON schema, thinking, …) what follows depends
  on more than the text. Nor can the caller's own last assistant message be told from the answer.

What is in doubt is ``CannotContinue``, before anything is yielded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

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

Ask = Callable[[GenerationRequest], Generator[Piece, None, None]]
"""Generates from a request without a prefix."""

_MOST = ("max_tokens", "max_completion_tokens", "max_new_tokens", "n_predict")
_LEAST = ("min_tokens",)
# Penalties of what the answer has said so far are not among them: of a text that is given some servers know nothing.
_HARMLESS = {
    *_MOST,
    *_LEAST,
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "stop", "logit_bias", "repetition_penalty"),
    *("user", "metadata", "service_tier", "store", "stream_options"),
}


def go_on(ask: Ask, request: GenerationRequest) -> Generator[Piece, None, None]:
    """Yield what comes after ``request.prefix``. Raises ``CannotContinue`` before the first piece of it."""
    refuse(request)
    given = request.prefix.rstrip()
    seam = Seam(given if request.model.continue_style == "mistral" else "", request.prefix[len(given) :])
    try:
        prompt, said = yield from _count(ask, request, given)
        left = _left(request.params, said)
        if any(left.get(name, 1) <= 0 for name in _MOST):
            yield Usage(prompt, said)
            yield Finish("length")
            return
        asked = _from(request, given)
        with closing(ask(replace(asked, params={**asked.params, **left}))) as pieces:
            yield from _joined(pieces, seam, prompt, said)
    except BackendError as exc:
        if exc.code == "upstream_rejected":
            raise CannotContinue(f"asked to go on, {exc.message}") from exc
        raise


def refuse(request: GenerationRequest) -> None:
    """Raise ``CannotContinue`` for a request whose answer is more than its text so far says."""
    if not request.model.continue_style:
        raise CannotContinue("the model is not configured to go on from a partial answer")
    more = sorted(name for name, value in request.params.items() if name not in _HARMLESS and value is not None)
    if more:
        raise CannotContinue(f"with {', '.join(more[:5])} an answer is begun anew")
    if request.messages and request.messages[-1].get("role") == "assistant":
        raise CannotContinue("the prompt ends with an assistant's message of its own")
    stop = request.params.get("stop")
    for word in [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []:
        if any(request.prefix.endswith(str(word)[:size]) for size in range(1, len(str(word)) + 1)):
            raise CannotContinue("the text so far may end in a part of a stop word")


def in_good_time(ask: Ask, patience_s: float) -> Ask:
    """As ``ask``, for several calls before the first piece: says so where they take longer than ``patience_s``, so that
    a slow upstream is not taken for one that does not answer."""
    since = time.monotonic()

    def asking(request: GenerationRequest) -> Generator[Piece, None, None]:
        nonlocal since
        if time.monotonic() - since > patience_s:
            since = time.monotonic()
            yield Waiting("finding out how to go on from the text so far", time.time())
        yield from ask(request)

    return asking


class Seam:
    """Between the text so far and what the server says: drops ``again``, which comes first and must be the same, and
    as much of ``blank``, the white space that was not sent, as it says once more."""

    def __init__(self, again: str, blank: str) -> None:
        self._again = again
        self._blank = blank

    @property
    def is_closed(self) -> bool:
        """Whether all that has to come again has come."""
        return not self._again

    def feed(self, text: str) -> str:
        """What is new in ``text``. Raises ``CannotContinue``."""
        size = min(len(text), len(self._again))
        if text[:size] != self._again[:size]:
            raise CannotContinue("asked to go on, the server began anew")
        self._again, text = self._again[size:], text[size:]
        while text and self._blank and text[0] == self._blank[0]:
            self._blank, text = self._blank[1:], text[1:]
        if text:
            self._blank = ""
        return text


def _from(request: GenerationRequest, given: str) -> GenerationRequest:
    """The request that goes on from ``given``, in the words of the server."""
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
    """The tokens of the prompt and of ``given``."""
    prompt = yield from _prompt_tokens(ask, _from(request, ""))
    if not given:
        return prompt, 0
    whole = yield from _prompt_tokens(ask, _from(request, given))
    if whole <= prompt:
        raise CannotContinue("the server does not count the text that it is to go on from")
    return prompt, whole - prompt


def _prompt_tokens(ask: Ask, request: GenerationRequest) -> Generator[Piece, None, int]:
    params = {name: value for name, value in request.params.items() if name not in (*_MOST, *_LEAST)}
    limit = next((name for name in _MOST if name in request.params), _MOST[0])
    found = None
    with closing(ask(replace(request, params={**params, limit: 1}))) as pieces:
        for piece in pieces:
            if isinstance(piece, Waiting | Alive):
                yield piece
            elif isinstance(piece, Usage):
                found = piece.input_tokens
    if found is None:
        raise CannotContinue("the server does not say how long a prompt is")
    return found


def _left(params: Mapping[str, Any], said: int) -> dict[str, int]:
    """The limits of ``params`` that are left after ``said`` tokens."""
    limits = {name: params.get(name) for name in (*_MOST, *_LEAST)}
    return {name: max(0, value - said) for name, value in limits.items() if type(value) is int and value > 0}


def _joined(pieces: Iterator[Piece], seam: Seam, prompt: int, said: int) -> Iterator[Piece]:
    began = False
    for piece in pieces:
        if isinstance(piece, Text):
            new = seam.feed(piece.text)
            if new:
                began = True
                yield Text(new)
        elif isinstance(piece, Usage):
            yield Usage(prompt, piece.output_tokens + said)
        elif isinstance(piece, Finish):
            if not seam.is_closed:
                raise CannotContinue("asked to go on, the server began anew")
            yield piece
        elif isinstance(piece, Complete):
            if seam.is_closed:
                yield piece
        elif began or isinstance(piece, Waiting | Alive):
            yield piece
        else:
            raise CannotContinue("asked to go on, the model did something else first")
