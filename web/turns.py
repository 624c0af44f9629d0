"""The turns of a conversation that a job goes on with: those before it, and the answer that it got itself."""

from __future__ import annotations

from typing import Any

from flask import request

from spool.conversation import Answer
from spool.errors import JobNotEnded
from spool.jobs import Job
from web.state import State
from web.streams import presence


def turns(here: State, job_id: str, owner: str) -> list[dict[str, Any]]:
    """The conversation up to the job's end, as messages. What it had said counts, however it ended. Raises
    ``JobNotFound``, ``JobGone``, ``JobNotEnded``."""
    job = here.store.look(job_id, owner, with_text=True)
    if not job.ended:
        raise JobNotEnded(job_id)
    messages: list[dict[str, Any]] = here.store.input_of(job_id)["messages"]
    if job.plain:
        # As the record has it: the log is longer.
        return [*messages, {"role": "assistant", "content": job.text}] if job.text else messages
    message = answer_of(here, job).message()
    return [*messages, message] if message else messages


def answer_of(here: State, job: Job) -> Answer:
    """What the job has answered so far, read from its log. Raises as ``Folds.fold``."""
    answer = Answer(job.id)
    here.folds.fold(job, answer, presence(request.environ), after=job.attempt_first - 1)
    return answer
