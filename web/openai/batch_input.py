"""The lines of a batch's input file: each becomes a job, or an error with its number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from spool.batches.line import BadLine, Line
from spool.errors import FileNotFound
from spool.files.file import StoredFile
from spool.jobs.coalescing import Coalescing
from spool.jobs.job import Priority
from web import bounded_json
from web.intake.accept import new_job
from web.intake.batch import LINES_FACTOR
from web.intake.body_lines import numbered_lines
from web.limits.bodies import job_bytes
from web.openai.lines import draft_of_line
from web.problems import Problem
from web.services import State
from web.time_slices import in_slices

_REQUIRED = ("custom_id", "method", "url", "body")
_ID_CHARACTERS = 512


def lines_of_file(services: State, owner: str, file_id: str, endpoint: str) -> Iterator[Line | BadLine]:
    """The lines of the file, read block by block. Raises ``StoreUnavailable``, ``StoreFull`` between two blocks,
    ``ContentLost`` and ``ContentElsewhere``."""
    try:
        file = services.files.get(file_id, owner)
    except FileNotFound:
        yield _of_batch("invalid_request", f"Cannot find file {file_id}.", "input_file_id")
        return
    if file.purpose != "batch":
        yield _of_batch(
            "invalid_request", f"The file {file_id} has the purpose {file.purpose}, not batch.", "input_file_id"
        )
        return
    settings = services.settings
    most, count = settings.max_batch_jobs, 0
    largest = job_bytes(settings.max_body_bytes, settings.max_prompt_bytes)
    check = _Check(services, endpoint)
    for number, text in in_slices(numbered_lines(_while_not_full(services, file), largest)):
        if number > LINES_FACTOR * most:
            message = f"The file has more than {LINES_FACTOR * most} lines, blank ones included."
            yield _of_batch("invalid_request", message, "input_file_id")
            return
        if text is not None and not text.strip():
            continue
        if count == most:
            yield _of_batch("invalid_request", f"The file has more than {most} lines.", "input_file_id")
            return
        yield check.line(count, number, text, largest)
        count += 1
    if not count:
        yield _of_batch("empty_file", "The input file is empty.", "input_file_id")


def _while_not_full(services: State, file: StoredFile) -> Iterator[bytes]:
    """The blocks of the file. What is made of them is staged in Redis before any limit of the batch is checked, so
    each is read only while Redis has memory."""
    for block in services.files.read(file):
        services.refuse_when_full()
        yield block


def _of_batch(code: str, message: str, param: str) -> BadLine:
    """An error of the whole batch: its line is 0."""
    return BadLine(0, 0, code, message, param)


@dataclass(slots=True)
class _Check:
    """Checks the lines of one batch, one after the other."""

    services: State
    endpoint: str
    model: str = ""
    """That of the first line, and so of all."""
    seen: set[bytes] = field(default_factory=set)
    """Digests of the custom_ids so far."""

    def line(self, index: int, number: int, text: bytes | None, largest: int) -> Line | BadLine:
        """The line's job, or its first error. Raises ``SpoolError`` and a ``Problem`` that is not the line's fault."""
        custom_id = ""
        try:
            data = _parsed(text, largest)
            found = data.get("custom_id")
            custom_id = found if isinstance(found, str) and len(found) <= _ID_CHARACTERS else ""
            self._check_request(data)
            return self._line(index, data, custom_id)
        except _Wrong as wrong:
            return BadLine(index, number, wrong.code, wrong.message, wrong.param, custom_id)
        except Problem as problem:
            if problem.status not in (404, 410, 413, 422):
                raise
            return BadLine(index, number, *_error_of(problem), custom_id)

    def _check_request(self, data: Mapping[str, Any]) -> None:
        for name in _REQUIRED:
            if data.get(name) in (None, ""):
                raise _Wrong("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
        custom_id = data["custom_id"]
        if not isinstance(custom_id, str) or len(custom_id) > _ID_CHARACTERS:
            raise _Wrong(
                "invalid_request", f"custom_id must be text of at most {_ID_CHARACTERS} characters.", "custom_id"
            )
        if data["method"] != "POST":
            raise _Wrong("invalid_request", "The method must be POST.", "method")
        if data["url"] != self.endpoint:
            raise _Wrong("invalid_url", f"The URL must be the endpoint of the batch, {self.endpoint}.", "url")
        if not isinstance(data["body"], dict):
            raise _Wrong("invalid_request", "The body must be a JSON object.", "body")
        if data["body"].get("stream"):
            raise _Wrong("streaming_unsupported", "Streaming is not supported in a batch.", "body.stream")
        digest = blake2b(custom_id.encode(errors="replace"), digest_size=16).digest()
        if digest in self.seen:
            raise _Wrong("duplicate_custom_id", f"The custom_id {custom_id!r} was used by another line.", "custom_id")
        self.seen.add(digest)

    def _line(self, index: int, data: Mapping[str, Any], custom_id: str) -> Line:
        draft = draft_of_line(self.services, self.endpoint, data["body"])
        ms = self.services.settings.batch_coalesce_ms
        draft = replace(draft, priority=Priority.BATCH, coalesce=Coalescing(ms) if ms else None)
        job = new_job(self.services, draft, in_batch=True)
        self.model = self.model or job.model
        if job.model != self.model:
            message = f"The model {job.model} is not that of the first line, {self.model}."
            raise _Wrong("model_mismatch", message, "body.model")
        return Line(index, job, custom_id)


class _Wrong(Exception):
    """What is wrong with a line."""

    def __init__(self, code: str, message: str, param: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def _parsed(text: bytes | None, largest: int) -> dict[str, Any]:
    if text is None:
        raise _Wrong("invalid_request", f"This line is larger than {largest} bytes.")
    try:
        data = bounded_json.load(text)
    except bounded_json.Refused as exc:
        raise _Wrong("invalid_json_line", "This line is not parseable as valid JSON.") from exc
    if not isinstance(data, dict):
        raise _Wrong("invalid_json_line", "This line is not parseable as valid JSON.")
    return data


def _error_of(problem: Problem) -> tuple[str, str, str]:
    """Code, message and param of a body that no endpoint accepts."""
    fields = problem.extra.get("errors") or []
    param = f"body.{fields[0]['field']}" if fields and fields[0]["field"] != "body" else "body"
    return ("model_not_found" if "known_models" in problem.extra else "invalid_request"), problem.detail, param
