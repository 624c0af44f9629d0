"""Contracts: what a view takes and answers, declared where it stands. ``web.openapi`` makes the document of them.

A shape is a pydantic model or a ``TypedDict``. Bodies and queries are checked with their shapes; mypy checks documents
against theirs. An example comes from the code that makes the answer, and is made when the document is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import Field

View = TypeVar("View", bound=Callable[..., Any])
Example = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A header or a part of the path: its name, its type for pydantic, its meaning."""

    name: str
    shape: Any
    description: str


@dataclass(frozen=True, slots=True)
class Content:
    """One form of a body: its media type, the shape of the whole (None: text), and in a stream of events or lines the
    shape of one of them. ``last``: the text, which is no JSON, that ends a stream of events."""

    media_type: str
    shape: Any = None
    item: Any = None
    last: str = ""
    example: Example | None = None


def json_content(shape: Any, example: Example | None = None) -> Content:
    """A body in JSON."""
    return Content("application/json", shape, example=example)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: what it means, the forms of its body, and its headers."""

    description: str
    content: Sequence[Content] = ()
    headers: Sequence[Parameter] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The decorator that declares what a view takes and answers."""

    answers: Mapping[int, Answer] = field(default_factory=dict)
    errors: Sequence[int] = ()
    """The statuses of its problems, besides those that every call has."""
    body: Sequence[Content] = ()
    body_required: bool = True
    query: Any = None
    headers: Sequence[Parameter] = ()
    receives: Sequence[Any] = ()
    """Of a WebSocket: the shapes of the messages that clients send."""
    sends: Sequence[Any] = ()
    """Of a WebSocket: the shapes of the messages that clients get."""

    def __call__(self, view: View) -> View:
        """Declare it for this view."""
        view.contract = self  # type: ignore[attr-defined]
        return view


def contract_of(view: Any) -> Contract | None:
    """The view's contract, or None."""
    return getattr(view, "contract", None)


LOCATION = Parameter("Location", str, "The path of the job or the batch.")
RETRY_AFTER = Parameter("Retry-After", Annotated[int, Field(ge=1)], "Seconds after which to ask again.")
REPLAYED = Parameter("Idempotent-Replayed", str, "`true` if an earlier request made it, which this one repeats.")
SPOOL_JOB = Parameter("X-Spool-Job", str, "The id of the job behind this answer.")
