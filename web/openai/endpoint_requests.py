"""Requests to other endpoints than conversations, each of which is the whole body of the upstream's request."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from web import auth
from web.intake.draft import Draft
from web.intake.idempotency import Idempotency
from web.intake.shapes import Some
from web.intake.spool_fields import WEBHOOK, on_disconnect_of, webhook_of
from web.openai.fields import Asked, refuse
from web.request_ids import origin
from web.services import State

INPUTS_AT_MOST = 2048
_TOKENS_AT_MOST = 100_000
Texts = str | Annotated[Some[Any], Field(min_length=1, max_length=_TOKENS_AT_MOST)]
"""A text, a list of texts, a list of tokens, or a list of such lists; ``_check_texts`` checks the items."""


class EndpointRequest(Asked):
    """A body whose ``INPUT`` is given to the model. Unknown fields go to the upstream unchanged."""

    ENDPOINT: ClassVar[str]
    """The upstream's path."""
    SURFACE: ClassVar[str]
    INPUT: ClassVar[str]
    STREAMS: ClassVar[bool] = False

    def check(self) -> None:
        """Raise a 422 ``Problem`` for an input that no upstream can use, and for a stream of what has no pieces."""
        _check_texts(getattr(self, self.INPUT), self.INPUT)
        if self.stream and not self.STREAMS:
            refuse("stream", "must be false: this answer comes as a whole")

    def params(self) -> dict[str, Any]:
        """The body of the upstream's request."""
        own = {name: getattr(self, name) for name in type(self).model_fields if name not in _OURS}
        return {**{name: value for name, value in own.items() if value is not None}, **self.extras()}


_OURS = frozenset([*Asked.model_fields, "stream_options"])


class EmbeddingsRequest(EndpointRequest):
    """The body of ``POST /v1/embeddings``. Unknown fields go to the upstream unchanged."""

    ENDPOINT, SURFACE, INPUT = "embeddings", "embeddings", "input"

    input: Texts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None


class ImagesRequest(EndpointRequest):
    """The body of ``POST /v1/images/generations``. Unknown fields, such as ``size``, go to the upstream unchanged."""

    ENDPOINT, SURFACE, INPUT = "images/generations", "images", "prompt"

    prompt: str
    n: Annotated[int, Field(ge=1, le=10)] | None = None


class CompletionsRequest(EndpointRequest):
    """The body of ``POST /v1/completions``. Unknown fields go to the upstream unchanged."""

    ENDPOINT, SURFACE, INPUT, STREAMS = "completions", "completions", "prompt", True

    prompt: Texts
    stream_options: dict[str, Any] | None = None


def draft_of(services: State, asked: EndpointRequest, idempotency: Idempotency) -> Draft:
    """The draft of the job."""
    return Draft(
        surface=asked.SURFACE,
        owner=auth.owner(),
        messages=[],
        messages_field=asked.INPUT,
        endpoint=asked.ENDPOINT,
        model=asked.model,
        params=asked.params(),
        params_field="",
        metadata=asked.metadata or {},
        streams_text=asked.STREAMS,
        on_disconnect=on_disconnect_of(asked.spool, services.settings.on_disconnect),
        scheduling=asked.scheduling(),
        webhook=webhook_of(asked.spool),
        webhook_field=WEBHOOK,
        idempotency=idempotency,
        origin=origin(),
    )


def _check_texts(value: Any, field: str) -> None:
    items = value if isinstance(value, list) else [value]
    if len(items) > INPUTS_AT_MOST and type(items[0]) is not int:
        refuse(field, f"has {len(items)} items: at most {INPUTS_AT_MOST} are allowed")
    if not all(type(item) in (str, int, list) and item not in ("", []) for item in items):
        refuse(field, "must be text, a list of texts, or lists of tokens, none of them empty")
    if len({type(item) for item in items}) > 1:
        refuse(field, "must have items of one type")
