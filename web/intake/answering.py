"""Accept a draft and answer with the output of its job: as a stream of the surface's own events, or whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flask import Response

from spool.jobs.conversation import Answer
from spool.jobs.job import Job
from web.checkpoints import Translation
from web.delivery.failures import CANCELLED, Failure, early_failure, failure_of
from web.delivery.formats import sse
from web.delivery.streaming import translated
from web.delivery.waiting import wait_for_all
from web.folds import CLIENT_LEFT
from web.intake.accept import accept
from web.intake.draft import Draft
from web.intake.errors_after_acceptance import accepted
from web.limits.streams import Slot
from web.problems import Problem
from web.services import state
from web.translated_stream import TranslatedStream


@dataclass(frozen=True, slots=True)
class Answering:
    """How a surface answers. ``answer_at`` is the path of a job's answer, with ``{id}`` for the job's; ``problem_of``
    the HTTP error of a failed job, with the headers that name the job."""

    answer_at: str
    problem_of: Callable[[Failure, Mapping[str, str]], Problem]
    media_type: str = sse.MEDIA_TYPE

    def stream(
        self,
        draft: Draft,
        translation_of: Callable[[Job], Translation],
        headers_of: Callable[[Job], Mapping[str, str]] = lambda _job: {},
    ) -> Response:
        """The job's entries as the surface's events. Holds the status line until the job has output; raises the
        ``Problem`` of a job that fails meanwhile."""
        services = state()
        with Slot(services.slots) as slot:
            submitted = accept(services, draft, slot)
            job = submitted.job
            with accepted(submitted, self.answer_at.format(id=job.id)) as headers:
                failure = early_failure(services, job)
                if failure is not None:
                    raise self.problem_of(failure, headers)
                stream = TranslatedStream(services.checkpoints, job, translation_of(job))
                return translated(job, stream, {**headers, **headers_of(job)}, slot, media_type=self.media_type)

    def whole(self, draft: Draft, response_of: Callable[[Job, Answer, Mapping[str, str]], Response]) -> Response:
        """The response of the finished answer. Raises the ``Problem`` of a job that failed or was cancelled."""
        services = state()
        with Slot(services.slots) as slot:
            submitted = accept(services, draft, slot)
            job = submitted.job
            answer = Answer(job.id)
            with accepted(submitted, self.answer_at.format(id=job.id)) as headers:
                if not wait_for_all(services, job, answer):
                    return Response(status=CLIENT_LEFT)
                if answer.finish_reason is None:
                    raise self.problem_of(failure_of(answer.error or CANCELLED), headers)
                return response_of(job, answer, headers)
