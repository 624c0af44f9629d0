"""The common part of ``/v1`` requests: their fields, their validation, and the job made from one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, NoReturn, TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, Field

from spool.errors import Draining, LimitExceeded, StoreUnavailable
from spool.jobs.conversation_blocks import answered, divide
from spool.jobs.job import Job, NewJob, OnWorkerLoss, new_job_id
from spool.models.demo_params import DemoParams
from spool.models.model import Model
from web import auth
from web.intake.references import NO_TURNS, Turns
from web.intake.shapes import Metadata, checked
from web.intake.submission import check_demo_params, check_size, digest, idempotency_digest, json_body, known_model
from web.problems import Problem, field_problem, problem_of
from web.services import State
from web.slices import in_slices


class Asked(BaseModel):
    """A request's body. Fields that it does not name go to the upstream unchanged."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    stream: bool | None = None
    store: bool | None = None
    metadata: Metadata | None = None

    def extras(self) -> dict[str, Any]:
        """The fields that the shape does not name, without nulls, which mean "not set"."""
        return {name: value for name, value in (self.model_extra or {}).items() if value is not None}


Request = TypeVar("Request", bound=Asked)


def parse(shape: type[Request]) -> tuple[Request, str]:
    """The validated request body and its digest. Raises a ``Problem`` with the paths of the first wrong fields."""
    data = json_body()
    return checked(shape, data), digest(data)


def refuse(field: str, detail: str) -> NoReturn:
    """Raise a 422 ``Problem`` for an invalid or unsupported field."""
    raise field_problem(field, detail)


def new_job(
    services: State,
    asked: Asked,
    body_digest: str,
    *,
    surface: str,
    stored: Mapping[str, Any],
    params: Mapping[str, Any],
    field: str,
    ttl_s: int | None = None,
    earlier: Turns = NO_TURNS,
) -> NewJob:
    """The job for this request. ``stored`` is its input without the params. ``field`` is the field that its size is
    attributed to. ``earlier`` holds the turns that the request continues by reference. Raises a ``Problem``, before
    anything is written."""
    model = known_model(services, asked.model)
    new = NewJob(
        id=new_job_id(shard=0),
        owner=auth.owner(),
        model=model.name,
        input={**stored, "params": params_for(model, params)},
        surface=surface,
        metadata=asked.metadata or {},
        ttl_s=ttl_s or services.settings.job_ttl_s,
        timeout_s=services.settings.job_timeout_s,
        start_s=model.start_s,
        # Text sent to these clients cannot be retracted.
        on_worker_loss=OnWorkerLoss.FAIL,
        continuable=model.continues,
    )
    check_size(services, new, field)
    divided = earlier.divided if earlier.messages else divide(in_slices(answered(stored["messages"])))
    return replace(new, idempotency_key=idempotency_digest(), body_digest=body_digest, divided=divided)


@contextmanager
def accepted(job: Job) -> Iterator[dict[str, str]]:
    """Translate errors that occur after the job was accepted: they name the job, and forbid an SDK's retry without an
    Idempotency-Key, which would submit it twice. Yields the headers that name the job. Raises ``Problem``."""
    headers = {"Location": f"/jobs/{job.id}", "X-Spool-Job": job.id}
    try:
        yield headers
    except (Draining, LimitExceeded, StoreUnavailable) as exc:
        problem = problem_of(exc)
        problem.detail += f"; the job continues, read its answer with GET /v1/responses/resp_{job.id}"
        problem.headers.update(headers)
        if "Idempotency-Key" not in request.headers:
            problem.headers["x-should-retry"] = "false"
        raise problem from exc


def params_for(model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
    """The params for the model's backend. The demo gets those that it knows; others are ignored, as a server would."""
    if model.backend != "demo":
        return dict(params)
    known = {name: value for name, value in params.items() if name in DemoParams.model_fields}
    return check_demo_params(known, "")


def job_id_of(response_id: str, prefix: str) -> str:
    """The job id in a response's id. Raises a 404 ``Problem`` for an id without the prefix."""
    job_id = response_id.removeprefix(prefix)
    if job_id == response_id:
        raise Problem(404, "Not found", f"no such job; ids begin with {prefix}")
    return job_id
