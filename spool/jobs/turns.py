"""Turns that continue their conversation: their earlier messages are known once the turn before them has ended.

So the worker that claims such a job reads them, and writes them into the job's input before it asks the model. Another
attempt, and a later turn, find them there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from spool.errors import JobNotFound, RecordDamaged, RecordNewer, SpoolError, UndecodableRecord
from spool.jobs.claims import Claim
from spool.jobs.conversation import Answer
from spool.jobs.conversation_blocks import divide
from spool.jobs.job import Job
from spool.jobs.log import Logs
from spool.jobs.scripts import arguments, script
from spool.jobs.shards import Shards
from spool.jobs.store import JobStore

_CONTINUED = "continued"
"""The mark of an input that has its earlier turns."""


class CannotContinueTurn(SpoolError):
    """The earlier turns cannot be had, so the job must fail with ``code``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def continued_input(shards: Shards, claim: Claim, *, keeps_reasoning: bool = False) -> Mapping[str, Any]:
    """The claimed job's input, with the earlier turns of its conversation if it asked for them. ``keeps_reasoning``:
    with the reasoning of the last one, also if that called no tool. Raises ``CannotContinueTurn`` and
    ``StoreUnavailable``; it may be called again."""
    job, conversation = claim.job, claim.job.scheduling.conversation
    if conversation is None or conversation.continue_at_most is None or _CONTINUED in claim.input:
        return claim.input
    shard = shards.of_job(job.id)
    digest = hashlib.sha1(conversation.id.encode(), usedforsecurity=False).hexdigest()
    found = shard.link.call("GET", shard.key(f"conversation:{job.owner}:{digest}"))
    at_most, earlier = conversation.continue_at_most, list[dict[str, Any]]()
    if found:
        earlier = _messages(shards, found.decode(), job.owner, at_most, keeps_reasoning=keeps_reasoning)
    return _write(shards, claim, earlier, at_most)


def _messages(shards: Shards, job_id: str, owner: str, at_most: int, *, keeps_reasoning: bool) -> list[dict[str, Any]]:
    """The messages up to the end of an earlier turn."""
    store = JobStore(shards)
    try:
        sizes = store.sizes(job_id)
        _refuse_beyond(at_most, sizes.input + sizes.text)
        job = store.look(job_id, owner, with_text=True)
        messages: list[dict[str, Any]] = store.input_of(job_id)["messages"]
        answer = _answer(shards, job, sizes.entries, at_most, keeps_reasoning=keeps_reasoning)
    except (JobNotFound, RecordDamaged, RecordNewer, UndecodableRecord) as exc:
        message = f"the earlier turn {job_id} of this conversation cannot be read; submit its messages instead"
        raise CannotContinueTurn("conversation_gone", message) from exc
    return [*messages, answer] if answer else messages


def _answer(shards: Shards, job: Job, entries: int, at_most: int, *, keeps_reasoning: bool) -> dict[str, Any] | None:
    if job.plain:
        return {"role": "assistant", "content": job.text} if job.text else None
    _refuse_beyond(at_most, entries)
    answer, after, logs = Answer(job.id), job.attempt_first - 1, Logs(shards.of_job(job.id).link)
    while rows := logs.read(job.id, after, is_packed=job.is_packed):
        answer.add_all([raw for _entry_id, raw in rows])
        after = rows[-1][0]
    if answer.end is None:
        # Deleted meanwhile, or damaged: the turn would go on from a part of the answer.
        raise JobNotFound(job.id)
    return answer.message(keeps_reasoning=keeps_reasoning)


def _write(shards: Shards, claim: Claim, earlier: list[dict[str, Any]], at_most: int) -> Mapping[str, Any]:
    whole = {**claim.input, "messages": [*earlier, *claim.input["messages"]], _CONTINUED: True}
    _refuse_beyond(at_most, len(orjson.dumps(whole)))
    divided = divide(earlier)
    own = {**whole, "messages": whole["messages"][divided.count :]}
    if divided.blocks:
        own["before"] = divided.blocks[-1].digest
    args = arguments(
        "continue_turn",
        [value for block in divided.blocks for value in (block.digest, block.messages)],
        id=claim.job.id,
        fence=claim.fence,
        input=orjson.dumps(own),
        earlier_bytes=sum(len(block.messages) for block in divided.blocks),
    )
    # A lost claim ends the attempt by itself, at its first append.
    shards.of_job(claim.job.id).run(script("continue_turn"), *args)
    return whole


def _refuse_beyond(at_most: int, size: int) -> None:
    if size > at_most:
        message = f"the conversation is longer than {at_most} bytes, with all earlier turns"
        raise CannotContinueTurn("conversation_too_long", message)
