"""Jobs whose answer is the JSON document that the upstream answered: embeddings, pictures, several completions."""

from __future__ import annotations

from flask import Response

from spool.jobs.conversation import Answer
from web.delivery.failures import CANCELLED, failure_of
from web.delivery.waiting import wait_for_all
from web.folds import CLIENT_LEFT
from web.intake.accept import accept
from web.intake.draft import Draft
from web.intake.errors_after_acceptance import accepted
from web.limits.streams import Slot
from web.openai.failures import problem_of_failure
from web.services import State


def whole_result(services: State, draft: Draft) -> Response:
    """Submit the draft and answer its result once it has ended. Raises a ``Problem``."""
    with Slot(services.slots) as slot:
        submitted = accept(services, draft, slot)
        answer = Answer(submitted.job.id)
        with accepted(submitted, f"/jobs/{submitted.job.id}/entries") as headers:
            if not wait_for_all(services, submitted.job, answer):
                return Response(status=CLIENT_LEFT)
    if answer.finish_reason is None:
        raise problem_of_failure(failure_of(answer.error or CANCELLED), headers)
    return result_response(answer, headers)


def result_response(answer: Answer, headers: dict[str, str]) -> Response:
    """The result of an answer that has one."""
    return Response(answer.result, mimetype="application/json", headers={"Cache-Control": "no-store", **headers})
