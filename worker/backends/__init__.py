"""The backend contract: a backend turns one prompt into pieces, without Redis, Celery or Spool's HTTP.

``tests/worker/test_backends.py`` checks these rules for every backend:

- ``generate`` is an iterator of pieces and ends with exactly one ``Finish``. Failures are exceptions: ``BackendError``
  for any failure of the upstream, with ``retryable`` if the same prompt may succeed later.
- It runs in one greenlet and may block (sleep, socket) anywhere. To cancel it, an exception is raised in it at such a
  point, or the iterator is closed. In both cases it closes every connection that it opened.
- It drops nothing and invents nothing: the concatenated ``Text`` is the answer. It never splits a character over two
  pieces.
- ``request.prefix`` is empty, or the text that an earlier attempt produced. The backend then yields only the rest. If
  it cannot guarantee that, it raises ``CannotContinue`` before the first piece of the answer, and the job restarts
  from scratch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from spool.deadline import Deadline
from spool.models.model import Model


class SharedGate(Protocol):
    """Reports one job's calls to its model's gate, which all workers share. While it is closed, the model's jobs wait
    in the queue."""

    @property
    def is_probe(self) -> bool:
        """Whether the job is tried although its model is closed: then a failed call counts as a refusal."""
        ...

    def accepted(self) -> None:
        """Report that the upstream answers this job, so that more jobs may begin."""
        ...

    def refused(
        self,
        reason: str,
        *,
        status: int,
        retry_after_s: float | None,
        answered_s: float | None,
        has_failed: bool = False,
    ) -> SharedRefusal | None:
        """Report that the upstream refused this job, or failed on it (``has_failed``). ``answered_s``: how long ago it
        completed its last answer. None if the report failed."""
        ...

    def suspected(self, reason: str, *, status: int) -> None:
        """Report that calls of several jobs failed in a row."""
        ...

    def exhausted(self, reason: str, *, reset_s: float) -> None:
        """Report that the upstream, which answers this job, has no capacity for others for ``reset_s``."""
        ...


class SharedRefusal(Protocol):
    """What follows a refusal; see ``spool.jobs.closed_models.Refusal``."""

    @property
    def is_own(self) -> bool: ...
    @property
    def retry_at(self) -> float: ...
    @property
    def again_ms(self) -> int: ...
    @property
    def refusals(self) -> int: ...
    @property
    def wait_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt, as the backend gets it.

    ``messages`` have OpenAI's chat format; ``params`` are the caller's, passed through unchanged.
    ``deadline`` is the job's: a wait for an upstream must not exceed it. With a ``gate``, the job waits in the queue
    while its upstream refuses; without one, the backend waits.
    """

    job_id: str
    model: Model
    messages: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    deadline: Deadline = field(default_factory=Deadline.never)
    owner: str = ""
    gate: SharedGate | None = None
    endpoint: str = ""
    """The endpoint that ``params`` are the whole body for, such as ``embeddings``; empty: chat completions."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that name the request which brought the job; an upstream gets them."""


@dataclass(unsafe_hash=True, slots=True)
class Text:
    """A piece of the answer. It is never modified, but not frozen: there is one for each token, and a frozen one would
    cost three times as much to create."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the model's reasoning before its answer."""

    text: str


@dataclass(frozen=True, slots=True)
class TextMark:
    """What an upstream says about the text: ``refuses``, that the text from here on is a refusal; ``annotations`` of
    the text so far, and ``logprobs``, the log probabilities of its next tokens, in the shape of chat completions."""

    refuses: bool = False
    annotations: Sequence[Mapping[str, Any]] = ()
    logprobs: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file in the answer, such as a picture."""

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A piece of a tool call: ``arguments`` pieces of the same ``index`` concatenate to JSON text."""

    index: int
    call_id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class Result:
    """The whole answer of an endpoint that is no conversation: the JSON text that the upstream answered."""

    body: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of the upstream. ``cached_tokens`` are part of the input, ``reasoning_tokens`` part of the output;
    None if the upstream does not report them."""

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
    """A sign of life without a piece of the answer: a comment in the upstream's stream."""


@dataclass(frozen=True, slots=True)
class Unstreamed:
    """The answer comes as a whole, so there is no piece of it before its end."""


@dataclass(frozen=True, slots=True)
class Complete:
    """The answer is complete and ended for ``reason``; only its usage may still follow."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The end: ``stop``, ``length``, ``tool_calls`` or ``content_filter``."""

    reason: str


Piece = (
    Text | Reasoning | TextMark | File | ToolCall | Result | Usage | Waiting | Alive | Unstreamed | Complete | Finish
)


class BackendError(Exception):
    """The upstream failed. ``code`` is short and stable; ``message`` is shown to the job's owner.

    ``interrupted``: the answer stopped in the middle for a reason other than the prompt, so that another attempt may
    succeed. ``upstream``: the ``status``, ``code``, ``type`` and ``param`` of the upstream's own error, as far as it
    named them.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        interrupted: bool = False,
        upstream: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.interrupted = interrupted
        self.upstream = upstream


class UpstreamClosed(BackendError):
    """The upstream refuses jobs for now: the job goes back to the queue. ``retry_at``: when it may be tried again, in
    seconds since the epoch; ``again_ms``: until when other jobs are tried before it, ms (0: it keeps its place)."""

    def __init__(self, message: str, retry_at: float, again_ms: int) -> None:
        super().__init__("upstream_refused", message, retryable=True)
        self.retry_at = retry_at
        self.again_ms = again_ms


class CannotContinue(BackendError):
    """The text of an earlier attempt cannot be continued here or now; retry the prompt from scratch."""

    def __init__(self, message: str) -> None:
        super().__init__("cannot_continue", message, retryable=True)


class Backend(Protocol):
    """Generates answers for the models that name it."""

    def generate(self, request: GenerationRequest) -> Iterator[Piece]:
        """Yield the answer's pieces as they arrive; see the rules at the top of this file."""
        ...
