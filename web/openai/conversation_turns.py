"""The turns that responses add to a conversation.

A response takes the conversation's turn when its job is accepted: one at a time, and only with the items that its job
was given. Its input and its output become items when the conversation is next used after the job's end. So nothing is
lost if the web or the worker dies, and a response that failed or was cancelled adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from spool.conversations.conversation import Conversation, Item
from spool.errors import ConversationBusy, ConversationNotFound, JobNotFound, RecordDamaged, UndecodableRecord
from spool.jobs.conversation_blocks import divide
from spool.jobs.job import Job, Status
from spool.jobs.submission import Submitted
from spool.logs import event
from spool.redis.errors import REFUSED_WRITES
from spool.settings import Settings
from web.intake.accept import accept
from web.intake.draft import Draft
from web.intake.earlier_reasoning import keeps_reasoning
from web.intake.references import Turns
from web.limits.streams import Slot
from web.openai.client_tools import Called
from web.openai.conversation_items import documents, stored_items
from web.openai.listed_items import items_of
from web.openai.response_fold import ResponseFold
from web.openai.response_items import messages_of
from web.openai.sealed_reasoning import seal_of
from web.problems import Problem
from web.services import State
from web.time_slices import in_slices

IsWanted = Callable[[], bool]


def conversation_of(services: State, conversation_id: str, owner: str, is_wanted: IsWanted) -> Conversation:
    """The conversation with the turn of its last response, if that has ended. Raises ``ConversationNotFound``,
    ``ConversationDamaged``."""
    conversation = services.conversations.get(conversation_id, owner)
    if not conversation.job:
        return conversation
    turn = _turn(services, conversation, is_wanted)
    if turn is None:
        return conversation
    services.conversations.end_turn(conversation, turn)
    return services.conversations.get(conversation_id, owner)


def readable_items(services: State, conversation_id: str, owner: str, is_wanted: IsWanted) -> list[Item]:
    """The items of ``conversation_of``, also while Redis takes no writes: then the last turn is shown without being
    kept. Raises like ``conversation_of``."""
    conversation = services.conversations.get(conversation_id, owner)
    turn = _turn(services, conversation, is_wanted) if conversation.job else None
    if turn is not None:
        try:
            services.conversations.end_turn(conversation, turn)
        except REFUSED_WRITES:
            return [*services.conversations.items(conversation), *turn]
    return services.conversations.items(conversation)


def turns_of(services: State, conversation: Conversation, model: str | None) -> Turns:
    """The conversation's items as messages. Raises a 422 ``Problem`` for a damaged one."""
    items = services.conversations.items(conversation)
    messages = messages_of(
        documents(items),
        lambda _id, _field: None,
        partial(services.sealing.load().open, conversation.owner),
        keeps_reasoning=keeps_reasoning(services, model),
        field="conversation",
    )
    return Turns(messages, sum(len(item.text) for item in items), divide(in_slices(messages)))


def turn_ttl_s(settings: Settings) -> int:
    """How long a response with a turn is kept after its end: not shorter than its conversation, which is kept from the
    latest time of that end (``_begin``). A conversation without its last turn would be a wrong one."""
    return settings.job_ttl_s + math.ceil(settings.job_timeout_s)


def accept_turn(services: State, draft: Draft, echo: Mapping[str, Any], slot: Slot | None = None) -> Submitted:
    """Accept the response's job; with a conversation, it takes the turn. Raises a 409 ``Problem`` if another response
    of the conversation has it, or changed the items meanwhile, and what ``accept`` raises."""
    asked = echo.get("conversation")
    try:
        submitted = accept(services, draft, slot)
    except ConversationBusy as exc:
        raise (_locked() if asked else exc) from exc
    if asked:
        _begin(services, submitted, asked["id"], echo)
    return submitted


def _begin(services: State, submitted: Submitted, conversation_id: str, echo: Mapping[str, Any]) -> None:
    job = submitted.job
    if submitted.replayed:
        echo = services.store.input_of(job.id).get("request") or {}
    expires_at = job.deadline_at + services.settings.job_ttl_s
    begun = False
    try:
        conversation = services.conversations.get(conversation_id, job.owner)
        begun = services.conversations.begin_turn(conversation, job.id, echo.get("conversation_version", 0), expires_at)
    except ConversationNotFound:
        if not submitted.replayed:
            services.store.cancel(job.id, job.owner)
        raise
    if not begun and not (submitted.replayed and _had_turn(services, job)):
        services.store.cancel(job.id, job.owner)
        raise _locked()


def _had_turn(services: State, job: Job) -> bool:
    """Whether a repeated request's job, which does not hold the turn, has had it: then the request gets this job,
    whatever became of the conversation. A job that never had it was cancelled, or is about to be."""
    return services.store.look(job.id, job.owner).status in (Status.SUCCEEDED, Status.FAILED)


def _locked() -> Problem:
    detail = (
        "another response of this conversation has not ended, or has just changed it; wait for its end, then retry, "
        "with another Idempotency-Key if you send one"
    )
    return Problem(409, "Conversation locked", detail)


def _turn(services: State, conversation: Conversation, is_wanted: IsWanted) -> list[Item] | None:
    """The items that the conversation's response adds; None while it runs."""
    try:
        job = services.store.look(conversation.job, conversation.owner)
        if not job.ended:
            return None
        return _items(services, job, is_wanted) if job.status is Status.SUCCEEDED else []
    except (JobNotFound, RecordDamaged, UndecodableRecord) as exc:
        event("turn_lost", conversation=conversation.id, job=conversation.job, reason=str(exc))
        return []


def _items(services: State, job: Job, is_wanted: IsWanted) -> list[Item]:
    stored = services.store.input_of(job.id)
    echo = stored.get("request") or {}
    called = {name: Called(*fields) for name, fields in echo.get("called", {}).items()}
    given = items_of(stored["messages"][echo.get("turn", 0) :], job.id, called)
    fold = services.folds.result(job, ResponseFold(job, echo, seal_of(services, echo)), is_wanted)
    return stored_items([*given, *fold.resource()["output"]])
