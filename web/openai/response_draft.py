"""The job that a request to ``/v1/responses`` describes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from flask import request

from spool.errors import JobGone, JobNotFound
from spool.jobs.scheduling import Conversation as TakesTurns
from spool.jobs.scheduling import OnBusy
from web import auth
from web.intake.draft import Draft
from web.intake.earlier_reasoning import keeps_reasoning
from web.intake.idempotency import Idempotency
from web.intake.references import NO_TURNS, References
from web.intake.spool_fields import WEBHOOK, on_disconnect_of, webhook_of
from web.openai.conversation_turns import conversation_of, turn_ttl_s, turns_of
from web.openai.fields import job_id_of
from web.openai.response_fold import ReferencedItems
from web.openai.response_items import messages_of
from web.openai.response_request import ResponsesRequest
from web.problems import Problem, field_problem
from web.request_ids import origin
from web.server.peer import presence
from web.services import State

SURFACE = "responses"
PREFIX = "resp_"
"""The beginning of the ids of responses; the job's id follows."""


def draft_of(services: State, asked: ResponsesRequest, idempotency: Idempotency) -> tuple[Draft, dict[str, Any]]:
    """The draft, and the request fields that the responses repeat."""
    references = References(services, auth.owner(), ReferencedItems)
    earlier, echo, scheduling, ttl_s = NO_TURNS, asked.echo(), asked.scheduling(), asked.ttl_s
    if asked.conversation_id is not None:
        conversation = conversation_of(services, asked.conversation_id, auth.owner(), presence(request.environ))
        services.conversations.check_room(conversation)
        earlier = turns_of(services, conversation, asked.model)
        ttl_s = turn_ttl_s(services.settings)
        echo |= {"conversation": {"id": conversation.id}, "conversation_version": conversation.version}
        scheduling = replace(scheduling, conversation=TakesTurns(conversation.id, OnBusy.REJECT))
    if asked.previous_response_id:
        try:
            earlier = references.turns(job_id_of(asked.previous_response_id, PREFIX), "previous_response_id")
        except (JobNotFound, JobGone) as exc:
            raise _no_previous(asked.previous_response_id) from exc
    added = messages_of(
        asked.input,
        references.item,
        partial(services.sealing.load().open, auth.owner()),
        keeps_reasoning=keeps_reasoning(services, asked.model),
    )
    if not added and not earlier.messages:
        raise field_problem("input", "is empty")
    echo["turn"] = len(earlier.messages)
    draft = Draft(
        surface=SURFACE,
        owner=auth.owner(),
        messages=added,
        messages_field="input",
        earlier=earlier,
        sends_all_turns=True,
        model=asked.model,
        params=asked.params(),
        params_field="",
        instructions=asked.instructions or None,
        request=echo,
        metadata=asked.metadata or {},
        ttl_s=ttl_s,
        streams_text=True,
        on_disconnect=on_disconnect_of(asked.spool, services.settings.on_disconnect, background=bool(asked.background)),
        scheduling=scheduling,
        webhook=webhook_of(asked.spool),
        webhook_field=WEBHOOK,
        idempotency=idempotency,
        origin=origin(),
    )
    return draft, echo


def _no_previous(response_id: str) -> Problem:
    """The problem by whose code clients know that they must send the whole conversation."""
    detail = f"previous_response_id: no such response, or it is no longer stored: {response_id}"
    errors = [{"field": "previous_response_id", "detail": detail}]
    return Problem(404, "Previous response not found", detail, errors=errors)
