"""The tools: submit a job, look at it, cancel it, list the models. Each checks the scope that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from spool.jobs.job import Job
from spool.jobs.submission import Submitted
from web import auth
from web.delivery.waiting import wait_for_end
from web.intake.accept import accept
from web.intake.draft import Draft
from web.intake.errors_after_acceptance import accepted
from web.intake.idempotency import Idempotency
from web.mcp.batch_tools import BATCH_TOOLS
from web.mcp.tool import Input, Tool
from web.problems import Problem
from web.request_ids import origin
from web.services import State

_TEXT_BYTES = 1_000_000
_WAIT_AT_MOST_S = 50.0

JobId = Annotated[str, Field(min_length=1, max_length=64, description="The id of a job, as `submit_job` answers it.")]
ModelName = Annotated[str, Field(min_length=1, max_length=200, description="The model; by default the server's.")]
WaitS = Annotated[
    float,
    Field(
        ge=0,
        le=_WAIT_AT_MOST_S,
        description="Seconds to wait for the end of the job. If it still runs then, call `get_job` again.",
    ),
]


class SubmitInput(Input):
    """The arguments of ``submit_job``."""

    prompt: Annotated[str, Field(min_length=1, description="The prompt.")]
    model: (
        Annotated[str, Field(min_length=1, max_length=200, description="The model; by default the server's.")] | None
    ) = None
    instructions: Annotated[str, Field(description="A system prompt.")] | None = None
    params: Annotated[dict[str, Any], Field(description="Parameters of the model, such as temperature.")] = Field(
        default_factory=dict
    )
    wait_s: WaitS = 0.0


class JobInput(Input):
    """The arguments of ``cancel_job``."""

    job: JobId


class GetInput(JobInput):
    """The arguments of ``get_job``."""

    wait_s: WaitS = 0.0


class NoInput(Input):
    """No arguments."""


def check_scope(needed: str) -> None:
    """Raise a 403 ``Problem`` if the caller lacks this scope."""
    if needed not in auth.caller().scopes:
        raise Problem(403, "Not allowed", f"this key lacks the scope {needed}")


def with_text(services: State, job_id: str) -> Job:
    """The caller's job with the text that an answer has. Raises ``JobNotFound``."""
    return services.store.look(job_id, auth.owner(), with_text=True, text_bytes=_TEXT_BYTES)


def _begin(services: State, asked: SubmitInput, idempotency: Idempotency) -> Job:
    return _accept(services, asked, idempotency).job


def _submit(services: State, asked: SubmitInput, idempotency: Idempotency) -> Mapping[str, Any]:
    submitted = _accept(services, asked, idempotency)
    with accepted(submitted, f"/jobs/{submitted.job.id}"):
        return _after_wait(services, submitted.job, asked.wait_s)


def _accept(services: State, asked: SubmitInput, idempotency: Idempotency) -> Submitted:
    draft = Draft(
        surface="mcp",
        owner=auth.owner(),
        messages=[{"role": "user", "content": asked.prompt}],
        messages_field="prompt",
        model=asked.model,
        params=asked.params,
        instructions=asked.instructions or None,
        idempotency=idempotency,
        origin=origin(),
    )
    return accept(services, draft)


def _get(services: State, asked: GetInput, _: Idempotency) -> Mapping[str, Any]:
    return _after_wait(services, services.store.look(asked.job, auth.owner()), asked.wait_s)


def _cancel(services: State, asked: JobInput, _: Idempotency) -> Mapping[str, Any]:
    return document(services.store.cancel(asked.job, auth.owner(), text_bytes=_TEXT_BYTES))


def _models(services: State, _: NoInput, __: Idempotency) -> Mapping[str, Any]:
    caller = auth.caller()
    names = [model.name for model in services.models.all() if caller.may_name(model.name)]
    return {"models": names, "default": services.models.default().name}


def _after_wait(services: State, job: Job, wait_s: float) -> Mapping[str, Any]:
    if wait_s and not job.ended:
        wait_for_end(services, job, wait_s)
    return document(with_text(services, job.id))


def document(job: Job) -> dict[str, Any]:
    """The answer of the tools for a job."""
    return {
        "job": job.id,
        "status": job.status.value,
        "model": job.model,
        "text": job.text or "",
        "text_is_complete": job.ended and not job.text_bytes,
        "finish_reason": job.finish_reason,
        "usage": job.usage,
        "error": job.error,
    }


TOOLS: Mapping[str, Tool] = {
    "submit_job": Tool(
        "Submit a prompt as a job, which runs in the background and keeps its answer. Answers its id and state; with "
        "wait_s, its answer if it ends in time.",
        SubmitInput,
        "jobs:write",
        _submit,
        begin=_begin,
    ),
    "get_job": Tool("The state of a job and its text so far.", GetInput, "jobs:read", _get, is_read_only=True),
    "cancel_job": Tool("Cancel a job. Its text so far is kept.", JobInput, "jobs:write", _cancel),
    "list_models": Tool("The models that jobs can use.", NoInput, "models:read", _models, is_read_only=True),
    **BATCH_TOOLS,
}
