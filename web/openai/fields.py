"""What requests to ``/v1`` have in common: how they are checked, and the job that one becomes."""

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
    """A request's body. What it does not name goes to the upstream as it is."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    stream: bool | None = None
    store: bool | None = None
    metadata: Metadata | None = None

    def extras(self) -> dict[str, Any]:
        """What the caller sent beside what is named here, without nulls: they ask for nothing."""
        return {name: value for name, value in (self.model_extra or {}).items() if value is not None}


Request = TypeVar("Request", bound=Asked)


def parse(shape: type[Request]) -> tuple[Request, str]:
    """The request's body, checked, and its digest. Raises a ``Problem`` with the path of each wrong field."""
    data = json_body()
    return checked(shape, data), digest(data)


def refuse(field: str, detail: str) -> NoReturn:
    """Raise the ``Problem`` for what Spool itself would have to do, and does not."""
    raise field_problem(field, detail)


def new_job(
    here: State,
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
    """The job for this request. ``stored`` is its input without the params, and ``field`` names what of the request may
    be too large; ``earlier`` are the turns that it goes on from by name. Raises a ``Problem``; nothing has
    been done then."""
    model = known_model(here, asked.model)
    new = NewJob(
        id=new_job_id(shard=0),
        owner=auth.owner(),
        model=model.name,
        input={**stored, "params": params_for(model, params)},
        surface=surface,
        metadata=asked.metadata or {},
        ttl_s=ttl_s or here.settings.job_ttl_s,
        timeout_s=here.settings.job_timeout_s,
        start_s=model.start_s,
        # These clients cannot unsay what they have.
        on_worker_loss=OnWorkerLoss.FAIL,
        continuable=model.continues,
    )
    check_size(here, new, field)
    divided = earlier.divided if earlier.messages else divide(in_slices(answered(stored["messages"])))
    return replace(new, idempotency_key=idempotency_digest(), body_digest=body_digest, divided=divided)


@contextmanager
def accepted(job: Job) -> Iterator[dict[str, str]]:
    """Within it the job is there, whatever keeps its answer from this client: another try would ask twice, unless a key
    says that it is one. Gives the headers that name the job."""
    headers = {"Location": f"/jobs/{job.id}", "X-Spool-Job": job.id}
    try:
        yield headers
    except (Draining, LimitExceeded, StoreUnavailable) as exc:
        problem = problem_of(exc)
        problem.detail += f"; the job goes on, and its answer is kept: GET /v1/responses/resp_{job.id}"
        problem.headers.update(headers)
        if "Idempotency-Key" not in request.headers:
            problem.headers["x-should-retry"] = "false"
        raise problem from exc


def params_for(model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
    """What the model's backend gets. The demo takes what it knows, and leaves the rest as a server would."""
    if model.backend != "demo":
        return dict(params)
    known = {name: value for name, value in params.items() if name in DemoParams.model_fields}
    return check_demo_params(known, "")


def job_id_of(response_id: str, prefix: str) -> str:
    """The job behind an id of these surfaces. Raises a 404 ``Problem``."""
    job_id = response_id.removeprefix(prefix)
    if job_id == response_id:
        raise Problem(404, "Not found", f"there is nothing here for you under this id; ids begin with {prefix}")
    return job_id
