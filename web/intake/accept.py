"""Acceptance of a job: check its draft, write it, count it, wake a worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from spool.errors import OutcomeUnknown, QueueFull, SubmitsStopped, UnknownModel
from spool.fail_points import reach
from spool.jobs.conversation_blocks import Divided, answered, divide
from spool.jobs.job import NewJob, OnWorkerLoss
from spool.jobs.scheduling import OnBusy
from spool.jobs.submission import Submitted
from spool.logs import event
from spool.metrics import labelled
from spool.models.demo_params import DemoParams
from spool.models.model import Model
from web import auth
from web.intake.draft import Draft
from web.intake.shapes import checked
from web.intake.webhook import stored_webhook
from web.limits.streams import Slot
from web.metrics import SUBMITTED
from web.problems import Problem, field_problem, model_problem
from web.request_spans import submitting
from web.services import State
from web.time_slices import in_slices

_STOPPED_S = 30.0
_STOPPED = {
    "all": "jobs",
    "model": "jobs of the model {!r}",
    "class": "jobs of the priority {!r}",
    "owner": "your jobs",
}


def accept(services: State, draft: Draft, slot: Slot | None = None) -> Submitted:
    """Check the draft, write its job and ring the bell. A stream's ``slot`` is taken before the job is written, and the
    limit of streams of its key is checked: then a refusal means that nothing was done. Raises a ``Problem``,
    ``Draining``, ``TooManyStreams``, ``SubmitsStopped``, ``StoreFull``, ``StoreUnfit``, ``StoreUnavailable`` and the
    errors of ``JobStore.submit``; ``OutcomeUnknown`` carries the job's id if the write's answer was lost."""
    new = new_job(services, draft)
    if slot is not None:
        services.authenticator.tenures.refuse_when_full(auth.caller())
        services.hold_stream(new.owner, slot)
    services.refuse_when_full()
    stopped = stop_of(services, [new])
    # A submit that is sent again gets its own job also then: no room is left for new ones alone.
    max_queued = 0 if stopped else services.settings.max_queued
    reach("submit.before")
    try:
        with submitting(new) as traced:
            limits = services.limits_of(new.owner, new.origin)
            submitted = services.store.submit(traced, max_queued=max_queued, limits=limits)
        reach("submit.written")
    except QueueFull as exc:
        raise stopped or exc from exc
    except OutcomeUnknown as exc:
        exc.job_id = new.id
        raise
    if not submitted.replayed:
        labelled(SUBMITTED, new.surface).inc()
        _say_submitted(new)
        services.bell.ring(new.id)
        services.bell.let_ring()
    reach("submit.rung")
    return submitted


def stop_of(services: State, jobs: Iterable[NewJob]) -> SubmitsStopped | None:
    """The error of a submit of these jobs, if a switch stops one of them; else None."""
    if not services.switches.all():
        return None
    for new in jobs:
        switch = services.switches.stop_of(new.model, new.priority.value, new.owner)
        if switch is not None:
            what = _STOPPED[switch.target.partition(":")[0]].format(switch.target.partition(":")[2])
            detail = f"{what} are not accepted at the moment{switch.because}; retry later"
            return SubmitsStopped(detail, retry_after_s=_STOPPED_S)
    return None


def new_job(services: State, draft: Draft, *, in_batch: bool = False) -> NewJob:
    """The job made from a draft; a line of a batch gets no id yet. Writes nothing. Raises a ``Problem`` for an unknown
    model, params that the demo does not know, and an input that is too large or nested too deeply."""
    model, settings = known_model(services, draft.model, draft.place), services.settings
    if draft.origin.models is not None and model.name not in draft.origin.models:
        raise Problem(403, "Not allowed", f"this key may not use the model {model.name!r}")
    job_input = _input(draft, model)
    _check_size(job_input, draft, settings.max_prompt_bytes)
    conversation = draft.scheduling.conversation
    if in_batch and conversation and conversation.on_busy is not OnBusy.ENQUEUE:
        # A batch is accepted all or none, so no line of it may refuse or cancel a job.
        detail = f"must be enqueue in a batch, not {conversation.on_busy.value}"
        raise field_problem(f"{draft.place}conversation.on_busy", detail)
    by_default = OnWorkerLoss.FAIL if draft.streams_text else OnWorkerLoss.RESTART
    new = NewJob(
        owner=draft.owner,
        model=model.name,
        input=job_input,
        priority=draft.priority,
        surface=draft.surface,
        metadata=draft.metadata,
        ttl_s=draft.ttl_s or settings.job_ttl_s,
        timeout_s=draft.timeout_s or settings.job_timeout_s,
        start_s=model.start_s,
        on_disconnect=draft.on_disconnect,
        on_worker_loss=draft.on_worker_loss or by_default,
        continuable=model.continues,
        coalesce=draft.coalesce,
        idempotency_key=draft.idempotency.key,
        body_digest=draft.idempotency.body,
        repeat=draft.idempotency.repeat,
        chat=draft.chat,
        divided=_divided(draft),
        scheduling=draft.scheduling,
        origin=draft.origin,
        webhook=_webhook(services, draft),
    )
    return new if in_batch else services.shards.place(new)


def _say_submitted(new: NewJob) -> None:
    event(
        "job_submitted",
        job=new.id,
        request_id=new.origin.request_id or None,
        owner=new.owner,
        credential=new.origin.credential or None,
        model=new.model,
        surface=new.surface,
        priority=new.priority,
        content={"messages": new.input["messages"]},
    )


def known_model(services: State, name: str | None, place: str = "") -> Model:
    """The model of that name, or the default. Raises a 422 ``Problem`` that lists some known models."""
    try:
        return services.models.get(name)
    except UnknownModel as exc:
        raise model_problem(exc, place) from exc


def _input(draft: Draft, model: Model) -> dict[str, Any]:
    beside = {"endpoint": draft.endpoint or None, "instructions": draft.instructions, "request": draft.request}
    return {
        "messages": [*draft.earlier.messages, *draft.messages],
        **{name: value for name, value in beside.items() if value is not None},
        "params": _params(draft) if model.backend == "demo" else dict(draft.params),
    }


def _webhook(services: State, draft: Draft) -> str:
    """The draft's webhook as it is stored; empty without one. Raises a 422 ``Problem`` for a URL that must have TLS."""
    if draft.webhook is None:
        return ""
    place = f"{draft.place}{draft.webhook_field}"
    return stored_webhook(draft.webhook, draft.owner, services.settings.webhook_addresses(), place)


def _params(draft: Draft) -> Mapping[str, Any]:
    """The params for the demo. Raises a 422 ``Problem``."""
    params = draft.params
    if not draft.params_field:
        params = {name: value for name, value in params.items() if name in DemoParams.model_fields}
    checked(DemoParams, dict(params), f"{draft.place}{draft.params_field}")
    return draft.params if draft.endpoint else params


def _check_size(job_input: Mapping[str, Any], draft: Draft, most: int) -> None:
    try:
        size = len(orjson.dumps(job_input))
    except orjson.JSONEncodeError as exc:
        # orjson reads 1024 levels but writes only 254.
        raise field_problem(draft.place.rstrip(".") or "body", "is nested too deeply") from exc
    if size > most:
        detail = f"is longer than {most} bytes, with all earlier turns"
        raise field_problem(f"{draft.place}{draft.messages_field}", detail, status=413)


def _divided(draft: Draft) -> Divided:
    if draft.sends_all_turns and not draft.earlier.messages:
        return divide(in_slices(answered(draft.messages)))
    return draft.earlier.divided
