"""References of one request: conversations that it continues, and items of earlier answers.

A request reads each job at most once, and checks its stored sizes before it reads it. The references of a request are
bounded: each conversation by SPOOL_MAX_PROMPT_BYTES, all of a batch together by SPOOL_MAX_BODY_BYTES as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flask import request

from spool.errors import JobGone, JobNotEnded, JobNotFound
from spool.jobs.conversation import Answer
from spool.jobs.conversation_blocks import UNDIVIDED, Divided, divide
from spool.jobs.job import Job
from web.folds import Result, check_wanted
from web.intake.earlier_reasoning import keeps_reasoning
from web.problems import field_problem
from web.server.peer import presence
from web.services import State
from web.time_slices import in_slices

_ITEM = re.compile(r"(?:msg|fc|rs|ctc|lsh|sh|apc|tsc)_(j.*)_[0-9]+")


@dataclass(frozen=True, slots=True)
class Turns:
    """The conversation up to a job's end: its messages, their size in bytes, and their blocks."""

    messages: list[dict[str, Any]]
    size: int
    divided: Divided


NO_TURNS = Turns([], 0, UNDIVIDED)


class Items(Result, Protocol):
    """The output items of an answer, under a surface's ids."""

    def item(self, item_id: str) -> Mapping[str, Any] | None:
        """The item with this id, or None."""
        ...

    def size_of(self, item_id: str) -> int:
        """The size of the item's text in bytes."""
        ...


class References:
    """The jobs of ``owner`` that one request refers to. ``items`` builds a job's output items, on surfaces that have
    them."""

    def __init__(
        self,
        services: State,
        owner: str,
        items: Callable[[Job], Items] | None = None,
        *,
        is_wanted: Callable[[], bool] | None = None,
    ) -> None:
        self._services = services
        self._owner = owner
        self._items = items
        self._is_wanted = is_wanted or presence(request.environ)
        self._turns: dict[str, Turns] = {}
        self._answers: dict[str, Items | None] = {}
        most = services.settings.max_prompt_bytes
        self.most = most
        """The most bytes of a conversation."""
        self._left = max(most, services.settings.max_body_bytes)
        self._entries_left = most
        self._items_left = most

    def turns(self, job_id: str, field: str) -> Turns:
        """The conversation up to the job's end. Its partial text counts, however it ended. ``field`` is the referring
        field. Raises ``JobNotFound``, ``JobGone``, ``JobNotEnded``, and a 413 ``Problem``."""
        turns = self._turns.get(job_id)
        if turns is None:
            check_wanted(self._is_wanted)
            turns = self._turns[job_id] = self._read(job_id, field)
        self._left -= turns.size
        if self._left < 0:
            most = max(self.most, self._services.settings.max_body_bytes)
            detail = f"the earlier turns of all submissions together exceed {most} bytes; send fewer at a time"
            raise field_problem(field, detail, status=413)
        return turns

    def item(self, item_id: str, field: str) -> Mapping[str, Any] | None:
        """An output item of an earlier response, or None. Raises a 413 ``Problem``."""
        match = _ITEM.fullmatch(item_id)
        if match is None or self._items is None:
            return None
        if match[1] not in self._answers:
            self._answers[match[1]] = self._answer(match[1], field, self._items)
        answer = self._answers[match[1]]
        item = answer.item(item_id) if answer is not None else None
        if item is not None and answer is not None:
            self._items_left -= answer.size_of(item_id)
            self._refuse_beyond(self._items_left, field)
        return item

    def _read(self, job_id: str, field: str) -> Turns:
        services = self._services
        job = services.store.look(job_id, self._owner)
        if not job.ended:
            raise JobNotEnded(job_id)
        sizes = services.store.sizes(job_id)
        self._refuse_beyond(self.most - sizes.input - (sizes.text if job.plain else 0), field)
        messages: list[dict[str, Any]] = services.store.input_of(job_id)["messages"]
        if job.plain:
            # From the record, because the log is longer.
            text = services.store.look(job_id, self._owner, with_text=True).text
            answer = {"role": "assistant", "content": text} if text else None
            return _turns(messages, answer, sizes.input + sizes.text)
        folded = self._folded(job, sizes.entries, field)
        answer = folded.message(keeps_reasoning=keeps_reasoning(self._services, job.model))
        return _turns(messages, answer, sizes.input + folded.size + len((answer or {}).get("reasoning_content") or ""))

    def _folded(self, job: Job, entries: int, field: str) -> Answer:
        self._count_entries(entries, field)
        answer = Answer(job.id)
        self._services.folds.fold(job, answer, self._is_wanted, after=job.attempt_first - 1)
        if answer.end is None:
            # Deleted, or expired, while it was read.
            raise JobGone(job.id)
        return answer

    def _answer(self, job_id: str, field: str, items: Callable[[Job], Items]) -> Items | None:
        services = self._services
        try:
            job = services.store.look(job_id, self._owner)
            self._count_entries(services.store.sizes(job_id).entries, field)
        except (JobNotFound, JobGone):
            return None
        answer = items(job)
        if job.ended:
            return services.folds.result(job, answer, self._is_wanted)
        services.folds.fold(job, answer, self._is_wanted)
        return answer

    def _count_entries(self, entries: int, field: str) -> None:
        self._entries_left -= entries
        if self._entries_left < 0:
            detail = f"the logs that this request refers to exceed {self.most} entries"
            raise field_problem(field, detail, status=413)

    def _refuse_beyond(self, left: int, field: str) -> None:
        if left < 0:
            detail = f"refers to more than the prompt limit of {self.most} bytes"
            raise field_problem(field, detail, status=413)


def _turns(messages: list[dict[str, Any]], answer: dict[str, Any] | None, size: int) -> Turns:
    if answer:
        messages = [*messages, answer]
    return Turns(messages, size, divide(in_slices(messages)))
