"""The whole answers of ended jobs: documents of ours, or the JSON document that the upstream answered (embeddings,
pictures, several completions)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response

from spool.jobs.conversation import Answer
from spool.jobs.job import Job
from web.intake.answering import Answering
from web.intake.draft import Draft
from web.json_response import json_response
from web.openai.failures import problem_of_failure

BY_ENTRIES = Answering("/jobs/{id}/entries", problem_of_failure)
"""For answers that no surface of OpenAI's reads again by their id."""


def whole_result(draft: Draft) -> Response:
    """Submit the draft and answer its result once it has ended. Raises a ``Problem``."""
    return BY_ENTRIES.whole(draft, _result)


def result_or(
    document_of: Callable[[Job, Answer], Mapping[str, Any]],
) -> Callable[[Job, Answer, Mapping[str, str]], Response]:
    """The response of an ended job: the upstream's result if it has one, else the document of its text."""

    def response_of(job: Job, answer: Answer, headers: Mapping[str, str]) -> Response:
        if answer.result:
            return _result(job, answer, headers)
        return json_response(document_of(job, answer), 200, headers)

    return response_of


def _result(_job: Job, answer: Answer, headers: Mapping[str, str]) -> Response:
    return Response(answer.result, mimetype="application/json", headers={"Cache-Control": "no-store", **headers})
