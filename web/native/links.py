"""``/jobs/{id}/links``, ``/batches/{id}/links``: signed links, for EventSource, WebSocket and pages without a key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from spool.jobs.entries import rfc3339
from web import auth
from web.access.audit import audit
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.examples import BATCH_ID, JOB
from web.intake.body import json_body
from web.intake.shapes import checked
from web.json_response import json_response
from web.native.signed_links import READING, JobCall, JobLinks, job_links, link_end, signed_path
from web.problems import Problem
from web.services import state

blueprint = Blueprint("links", __name__)

LIFE_AT_MOST_S = 31_536_000
_OF_BATCH_S = 86_400

Life = Annotated[int, Field(ge=1, le=LIFE_AT_MOST_S)]


class WantedLinks(BaseModel):
    """The links to make."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    ttl_s: Life | None = Field(None, description="Their life; null: as long as the job may run, at least an hour.")
    scope: Annotated[list[JobCall], Field(min_length=1, max_length=4)] = Field(
        list(READING), description="The calls to make links for."
    )


class WantedBatchLinks(BaseModel):
    """The life of a batch's links."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    ttl_s: Life = _OF_BATCH_S


class BatchLinks(TypedDict):
    """Signed paths of a batch's calls."""

    batch: str
    results: str
    expires_at: str


def _example(*calls: str) -> Mapping[str, Any]:
    return {**{call: f"/jobs/{JOB.id}/{call}?link=…" for call in calls}, "expires_at": rfc3339(1795257000)}


def _asked() -> Any:
    return json_body() if request.content_length or request.headers.get("Transfer-Encoding") else {}


@blueprint.post("/jobs/<job_id>/links")
@scope("jobs:read")
@Contract(
    body=[json_content(WantedLinks, lambda: {"ttl_s": 600, "scope": ["stream", "cancel"]})],
    body_required=False,
    answers={200: Answer("The links.", [json_content(JobLinks, lambda: _example("stream", "cancel"))])},
    errors=[404, 409, 410, 413, 415, 422, 503],
)
def links(job_id: str) -> Response:
    """Make signed links to a job, for EventSource, WebSocket and pages that must not have a key."""
    asked, caller = checked(WantedLinks, _asked()), auth.caller()
    if "cancel" in asked.scope and "jobs:write" not in caller.scopes:
        raise Problem(403, "Not allowed", "a link to cancel needs the scope jobs:write")
    job = state().store.look(job_id, caller.owner)
    document = job_links(state().authenticator.signer, caller, job, asked.scope, asked.ttl_s or 0)
    audit("link.create", job.id, calls=asked.scope)
    return json_response(document)


@blueprint.post("/batches/<batch_id>/links")
@scope("batches")
@Contract(
    body=[json_content(WantedBatchLinks, lambda: {"ttl_s": 600})],
    body_required=False,
    answers={
        200: Answer(
            "The links.",
            [
                json_content(
                    BatchLinks,
                    lambda: {
                        "batch": f"/batches/{BATCH_ID}?link=…",
                        "results": f"/batches/{BATCH_ID}/results?link=…",
                        "expires_at": rfc3339(1795257000),
                    },
                )
            ],
        )
    },
    errors=[404, 409, 413, 415, 422, 503],
)
def batch_links(batch_id: str) -> Response:
    """Make signed links to a batch and its results."""
    asked, caller, signer = checked(WantedBatchLinks, _asked()), auth.caller(), state().authenticator.signer
    state().store.batch(batch_id, caller.owner)
    path, expires_at = f"/batches/{batch_id}", link_end(caller, time.time() + asked.ttl_s)
    document: BatchLinks = {
        "batch": signed_path(signer, caller, path, "batch", expires_at, batch=batch_id),
        "results": signed_path(signer, caller, f"{path}/results", "results", expires_at, batch=batch_id),
        "expires_at": rfc3339(expires_at),
    }
    audit("link.create", batch_id)
    return json_response(document)
