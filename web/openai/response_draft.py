"""The job that a request to ``/v1/responses`` describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from spool.errors import JobGone, JobNotFound
from web import auth
from web.intake.draft import Draft
from web.intake.earlier_reasoning import keeps_reasoning
from web.intake.idempotency import Idempotency
from web.intake.references import NO_TURNS, References
from web.intake.spool_fields import WEBHOOK, on_disconnect_of, webhook_of
from web.openai.fields import job_id_of
from web.openai.response_fold import ReferencedItems
from web.openai.response_items import messages_of
from web.openai.response_request import ResponsesRequest
from web.problems import Problem, field_problem
from web.request_ids import origin
from web.services import State

PREFIX = "resp_"
"""The beginning of the ids of responses; the job's id follows."""


def draft_of(services: State, asked: ResponsesRequest, idempotency: Idempotency) -> tuple[Draft, dict[str, Any]]:
    """The draft, and the request fields that the responses repeat."""
    references = References(services, auth.owner(), ReferencedItems)
    earlier = NO_TURNS
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
    echo = {**asked.echo(), "turn": len(earlier.messages)}
    draft = Draft(
        surface="responses",
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
        ttl_s=asked.ttl_s,
        streams_text=True,
        on_disconnect=on_disconnect_of(asked.spool, services.settings.on_disconnect, background=bool(asked.background)),
        scheduling=asked.scheduling(),
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


def seal_of(services: State, echo: Mapping[str, Any]) -> Callable[[str], str] | None:
    """Seals the reasoning for its owner, if the request asked for that. Raises ``StoreUnavailable``."""
    return partial(services.sealing.load().seal, auth.owner()) if echo.get("seals_reasoning") else None
