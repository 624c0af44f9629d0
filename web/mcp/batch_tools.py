"""The tools for batches: submit prompts together, look at them, cancel what has not ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from spool.batches.batch import Batch, BatchOptions
from spool.batches.line import Line, job_id_of
from spool.jobs.job import Priority
from web import auth
from web.intake.accept import new_job
from web.intake.batch import cancel_batch, create_batch
from web.intake.draft import Draft
from web.intake.idempotency import Idempotency
from web.mcp.tool import Input, Tool
from web.request_ids import origin
from web.services import State
from web.time_slices import in_slices

_PROMPTS_AT_MOST = 1000

BatchId = Annotated[str, Field(min_length=1, max_length=64, description="The id of a batch, from `submit_batch`.")]


class SubmitBatchInput(Input):
    """The arguments of ``submit_batch``."""

    prompts: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(min_length=1, max_length=_PROMPTS_AT_MOST, description="The prompts. Each becomes a job."),
    ]
    model: (
        Annotated[str, Field(min_length=1, max_length=200, description="The model; by default the server's.")] | None
    ) = None
    instructions: Annotated[str, Field(description="A system prompt for all of them.")] | None = None
    params: Annotated[dict[str, Any], Field(description="Parameters of the model, such as temperature.")] = Field(
        default_factory=dict
    )


class BatchInput(Input):
    """The arguments of ``get_batch`` and ``cancel_batch``."""

    batch: BatchId


def _submit(services: State, asked: SubmitBatchInput, idempotency: Idempotency) -> Mapping[str, Any]:
    services.refuse_when_full()
    lines = _lines(services, asked)
    batch_id, _ = create_batch(services, auth.owner(), lines, BatchOptions(keep_jobs=True), idempotency)
    jobs = [job_id_of(batch_id, index) for index in range(len(asked.prompts))]
    return _document(services.batches.look(batch_id, auth.owner())) | {"jobs": jobs}


def _lines(services: State, asked: SubmitBatchInput) -> Iterator[Line]:
    came_with = origin()
    for index, prompt in enumerate(in_slices(asked.prompts)):
        draft = Draft(
            surface="batches",
            owner=auth.owner(),
            messages=[{"role": "user", "content": prompt}],
            place=f"prompts[{index}].",
            model=asked.model,
            params=asked.params,
            instructions=asked.instructions or None,
            priority=Priority.BATCH,
            origin=came_with,
        )
        yield Line(index, new_job(services, draft, in_batch=True))


def _get(services: State, asked: BatchInput, _: Idempotency) -> Mapping[str, Any]:
    return _document(services.batches.look(asked.batch, auth.owner()))


def _cancel(services: State, asked: BatchInput, _: Idempotency) -> Mapping[str, Any]:
    return _document(cancel_batch(services, asked.batch, auth.owner()))


def _document(batch: Batch) -> dict[str, Any]:
    usage = {"input_tokens": batch.input_tokens, "output_tokens": batch.output_tokens}
    counts = {name: count for name, count in batch.counts.items() if count}
    return {"batch": batch.id, "state": batch.state, "ended": batch.is_ended, "counts": counts, "usage": usage}


BATCH_TOOLS: Mapping[str, Tool] = {
    "submit_batch": Tool(
        "Submit up to 1000 prompts together, as jobs that run when there is room. Answers the batch's id and the ids "
        "of its jobs in the order of the prompts; get_job has the answer of each.",
        SubmitBatchInput,
        "batches",
        _submit,
    ),
    "get_batch": Tool(
        "How many jobs of a batch are in each state, and whether it has ended.",
        BatchInput,
        "batches",
        _get,
        is_read_only=True,
    ),
    "cancel_batch": Tool("Cancel the jobs of a batch that have not ended.", BatchInput, "batches", _cancel),
}
