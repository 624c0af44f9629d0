"""The body of ``POST /v1/chat/completions``, and the job that it describes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from web import auth
from web.intake.draft import Draft
from web.intake.idempotency import Idempotency
from web.intake.messages import MESSAGES_AT_MOST, Message, Messages, as_received
from web.intake.shapes import Pieces, Some
from web.intake.spool_fields import WEBHOOK, on_disconnect_of, webhook_of
from web.openai.fields import Asked, refuse
from web.request_ids import origin
from web.services import State


class ChatRequest(Asked):
    """The body. Sampling parameters, tools, response formats and unknown fields go to the upstream unchanged."""

    PIECES: ClassVar[Pieces] = {"messages": (Message, MESSAGES_AT_MOST)}

    messages: Messages
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stream_options: dict[str, Any] | None = None
    modalities: Some[str] | None = None
    audio: dict[str, Any] | None = None
    functions: Any = None
    function_call: Any = None

    def check(self) -> None:
        """Raise a 422 ``Problem`` for features that Spool itself does not support."""
        if {*(self.modalities or ())} - {"text", "image", "audio"}:
            refuse("modalities", "must be text, image or audio")
        if self.functions is not None or self.function_call is not None:
            refuse("functions", "are not supported: use tools")

    def media(self) -> dict[str, Any]:
        """What the answer may contain besides text, and the audio that is asked for."""
        given = {"modalities": self.modalities, "audio": self.audio}
        return {name: value for name, value in given.items() if value is not None}


def draft_of(services: State, asked: ChatRequest, idempotency: Idempotency) -> Draft:
    """The draft of the job."""
    several = (asked.n or 1) > 1
    return Draft(
        surface="chat",
        owner=auth.owner(),
        messages=as_received(asked.messages),
        sends_all_turns=True,
        model=asked.model,
        # Several answers are no text, so they come as one result.
        endpoint="chat/completions" if several else "",
        params={**asked.extras(), **({"n": asked.n} if several else {}), **asked.media()},
        params_field="",
        metadata=asked.metadata or {},
        streams_text=True,
        on_disconnect=on_disconnect_of(asked.spool, services.settings.on_disconnect),
        scheduling=asked.scheduling(),
        webhook=webhook_of(asked.spool),
        webhook_field=WEBHOOK,
        idempotency=idempotency,
        origin=origin(),
    )
