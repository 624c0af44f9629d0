"""The body of the AI SDK's requests for an answer, and the draft of its job."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from spool.jobs.repeats import Joins
from spool.jobs.scheduling import UNSCHEDULED
from web import auth
from web.ai_sdk.ui_messages import UiMessage, messages_of
from web.intake.draft import Draft
from web.intake.earlier_reasoning import keeps_reasoning
from web.intake.idempotency import Idempotency
from web.intake.messages import MESSAGES_AT_MOST
from web.intake.scheduling import scheduling_of
from web.intake.shapes import Metadata, Pieces, Some
from web.intake.spool_fields import WEBHOOK, SpoolFields, on_disconnect_of, webhook_of
from web.problems import field_problem
from web.request_ids import origin
from web.services import state
from web.time_slices import in_slices

SURFACE = "ai"
_TOOLS_AT_MOST = 512


class Asked(BaseModel):
    """A body from the AI SDK. Applications add fields of their own, which are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, alias_generator=to_camel, defer_build=True)


ChatId = Annotated[str, Field(min_length=1, max_length=200, pattern="^[^/]")]


class UiRequest(Asked):
    """The body of a transport; ``model`` and the fields after it come from the application's ``body``."""

    PIECES: ClassVar[Pieces] = {"messages": (UiMessage, MESSAGES_AT_MOST)}

    # Of a chat, the id is part of the resume path. ``WorkflowChatTransport`` sends none.
    id: ChatId | None = None
    messages: Annotated[Some[UiMessage], Field(min_length=1, max_length=MESSAGES_AT_MOST)]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = None
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    system: str | None = None
    tools: Annotated[Some[dict[str, Any]], Field(max_length=_TOOLS_AT_MOST)] | None = None
    tool_choice: str | dict[str, Any] | None = Field(None, alias="tool_choice")
    metadata: Metadata | None = None
    spool: Annotated[SpoolFields | None, Field(description="Spool's own fields, as in `POST /jobs`")] = None

    def all_params(self) -> dict[str, Any]:
        """The model's parameters, with the tools."""
        tools = {"tools": self.tools, "tool_choice": self.tool_choice}
        return {**self.params, **{name: value for name, value in tools.items() if value is not None}}

    def joins(self) -> Joins | None:
        """The jobs that the request may get instead of a new one. ``useChat`` gives each message an id, so the same
        messages of the same chat again are the same request, as long as that runs: after its end a user may want
        another answer. None for messages without ids."""
        if not self.messages[-1].id:
            return None
        return Joins.NONE if self.trigger == "regenerate-message" else Joins.RUNNING

    def continued(self) -> UiMessage | None:
        """The assistant's message that the answer continues, as ``AbstractChat`` chooses it; None for a new message.
        The stream must repeat its id, or the client would show it twice."""
        if self.trigger == "regenerate-message":
            return None
        last = self.messages[-1]
        message = next((known for known in self.messages if known.id and known.id == self.message_id), last)
        return message if message.role == "assistant" and message.id else None


def draft_of(asked: UiRequest, idempotency: Idempotency) -> Draft:
    """The draft of the answer's job. Raises a 422 ``Problem`` for messages without content."""
    messages = messages_of(asked.messages, keeps_reasoning=keeps_reasoning(state(), asked.model))
    if not messages:
        raise field_problem("messages", "have no content for the model to answer")
    before = asked.continued()
    return Draft(
        surface=SURFACE,
        owner=auth.owner(),
        messages=messages,
        sends_all_turns=True,
        model=asked.model,
        params=asked.all_params(),
        instructions=asked.system if asked.system and asked.system.strip() else None,
        request={"message_id": before.id, "parts": [part.dump() for part in in_slices(before.parts)]}
        if before
        else None,
        metadata=asked.metadata or {},
        streams_text=True,
        on_disconnect=on_disconnect_of(asked.spool, state().settings.on_disconnect),
        scheduling=scheduling_of(asked.spool, "spool.") if asked.spool else UNSCHEDULED,
        webhook=webhook_of(asked.spool),
        webhook_field=WEBHOOK,
        chat=chat_of(asked.id) if asked.id else "",
        idempotency=idempotency,
        origin=origin(),
    )


def chat_of(chat_id: str) -> str:
    """The digest of a chat's id."""
    return hashlib.sha256(chat_id.encode()).hexdigest()[:32]
