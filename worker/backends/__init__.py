"""What generates. A backend turns one prompt into pieces; it knows no Redis, no Celery and no HTTP of ours.

The rules, which ``tests/worker/test_backends.py`` holds every backend to:

- ``generate`` is an iterator of pieces, and ends with exactly one ``Finish``. What is not a piece is an
  exception: ``BackendError`` for anything the upstream did, with ``retryable`` where the same prompt may
  succeed later.
- It runs in one greenlet and may block (sleep, socket) wherever it likes. It is cancelled by throwing an
  exception into it at such a point or by closing the iterator: either way every connection that it opened is
  closed on the way out.
- Nothing is dropped and nothing invented: the concatenated ``Text`` is the answer. A character is never split
  over two pieces.
- ``request.prefix`` is empty, or the text that an earlier attempt already produced. The backend then yields only
  what comes after it; or, where it cannot be sure of that, raises ``CannotContinue`` before the first piece of the
  answer, and the job begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from spool.deadline import Deadline
from spool.models.model import Model


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt, as the backend sees it.

    ``messages`` are in OpenAI's chat shape; ``params`` are the caller's own, passed on as they came.
    ``deadline`` is when the job itself ends: waiting out an outage must not go past it.
    """

    job_id: str
    model: Model
    messages: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    deadline: Deadline = field(default_factory=Deadline.never)
    owner: str = ""


@dataclass(unsafe_hash=True, slots=True)
class Text:
    """A piece of the answer. There is one for each token, and a frozen one would cost three times as much to make; it
    is changed by nobody all the same."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A piece of a tool call: ``arguments`` pieces of the same ``index`` concatenate to JSON text."""

    index: int
    call_id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted by the upstream. Of the input, how many came from its cache, and of the output, how many were
    thought rather than said; None where it does not say."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The upstream refuses for now; the backend tries again by itself at ``retry_at`` (seconds since the epoch)."""

    reason: str
    retry_at: float


@dataclass(frozen=True, slots=True)
class Alive:
    """The upstream says that it is at work, without a piece of the answer: a comment in its stream."""


@dataclass(frozen=True, slots=True)
class Complete:
    """All of the answer has come, and it ended for ``reason``; only what was counted may still follow."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The end: ``stop``, ``length``, ``tool_calls`` or ``content_filter``."""

    reason: str


Piece = Text | Reasoning | ToolCall | Usage | Waiting | Alive | Complete | Finish


class BackendError(Exception):
    """The upstream failed. ``code`` is short and stable; ``message`` is shown to the job's owner.

    ``interrupted`` says that the answer broke off in the middle for a reason that is not the prompt's, so that
    another attempt is worth making.
    """

    def __init__(self, code: str, message: str, *, retryable: bool, interrupted: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.interrupted = interrupted


class CannotContinue(BackendError):
    """What an earlier attempt produced cannot be gone on with, here or now; the same prompt can be answered anew."""

    def __init__(self, message: str) -> None:
        super().__init__("cannot_continue", message, retryable=True)


class Backend(Protocol):
    """Generates answers for the models that name it."""

    def generate(self, request: GenerationRequest) -> Iterator[Piece]:
        """Yield the answer's pieces as they come; see the rules at the top of this file."""
        ...
