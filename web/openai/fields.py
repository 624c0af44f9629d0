"""The common part of ``/v1`` requests: their fields and their validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from spool.jobs.scheduling import UNSCHEDULED, Scheduling
from web.intake.body import json_body
from web.intake.idempotency import Idempotency, idempotency_of
from web.intake.scheduling import scheduling_of
from web.intake.shapes import Metadata, checked
from web.intake.spool_fields import SpoolFields
from web.openai.azure_paths import with_deployment
from web.problems import Problem, field_problem


class Asked(BaseModel):
    """A request's body. Fields that it does not name go to the upstream unchanged."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    stream: bool | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    spool: Annotated[SpoolFields | None, Field(description="Spool's own fields, as in `POST /jobs`")] = None

    def extras(self) -> dict[str, Any]:
        """The fields that the shape does not name, without nulls, which mean "not set"."""
        return {name: value for name, value in (self.model_extra or {}).items() if value is not None}

    def scheduling(self) -> Scheduling:
        """The scheduling that ``spool`` asks for. Raises a 422 ``Problem``."""
        return scheduling_of(self.spool, "spool.") if self.spool else UNSCHEDULED


Request = TypeVar("Request", bound=Asked)


def parse(shape: type[Request]) -> tuple[Request, Idempotency]:
    """The validated request body, and its Idempotency-Key. Raises a ``Problem`` with the paths of the first wrong
    fields."""
    data = with_deployment(json_body())
    return checked(shape, data), idempotency_of(data)


def wants_usage(stream_options: Mapping[str, Any] | None) -> bool:
    """Whether the stream's last event reports the token usage."""
    return bool((stream_options or {}).get("include_usage"))


def refuse(field: str, detail: str) -> NoReturn:
    """Raise a 422 ``Problem`` for an invalid or unsupported field."""
    raise field_problem(field, detail)


def job_id_of(response_id: str, prefix: str) -> str:
    """The job id in a response's id. Raises a 404 ``Problem`` for an id without the prefix."""
    job_id = response_id.removeprefix(prefix)
    if job_id == response_id:
        raise Problem(404, "Not found", f"no such job; ids begin with {prefix}")
    return job_id
