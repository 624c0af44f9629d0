"""The output and the error file of a batch: the entries of its log, as OpenAI's lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import orjson

from spool.batches.batch import Batch
from spool.jobs.conversation import Answer
from spool.jobs.entries import decode_all
from spool.jobs.job import Job, Status
from web.delivery.failures import failure_of
from web.openai.batch_resource import OUTPUT
from web.openai.chat_chunks import completion
from web.openai.completion_chunks import text_completion
from web.openai.failures import document_of
from web.openai.response_fold import ResponseFold
from web.services import State

_RESPONSES = "/v1/responses"
_TOKENS = frozenset({"input_tokens", "output_tokens"})
_NEVER_RAN = ("line", "param")
"""Members of the error of a line that cannot run."""


def file_lines(services: State, batch: Batch, kind: str) -> Iterator[bytes]:
    """The lines of one of the batch's files, in the order in which they ended, each with its line end. Raises
    ``StoreUnavailable``."""
    requests = Requests(services, batch)
    return services.result_lines.of(batch.id, 0, partial(_line, batch, kind, requests))


class Asked(Protocol):
    """What results repeat of their requests; see ``Requests``."""

    def of(self, index: int) -> Mapping[str, Any]: ...
    def seal_of(self, asked: Mapping[str, Any]) -> Callable[[str], str] | None: ...


class Requests:
    """What the results of a batch repeat of their requests: of ``/v1/responses`` the fields that a response has."""

    def __init__(self, services: State, batch: Batch) -> None:
        self._services = services
        self._owner = batch.owner
        self._lines = services.batches.line_index(batch.id) if batch.endpoint == _RESPONSES else None

    def of(self, index: int) -> Mapping[str, Any]:
        """The request fields of a line; none if its line is damaged. Raises ``StoreUnavailable``."""
        line = self._lines.line(index) if self._lines else None
        try:
            return dict(line["input"]["request"]) if line else {}
        except (KeyError, TypeError, ValueError):
            return {}

    def seal_of(self, asked: Mapping[str, Any]) -> Callable[[str], str] | None:
        """Seals the reasoning for the batch's owner, if the request asked for that. Raises ``StoreUnavailable``."""
        return partial(self._services.sealing.load().seal, self._owner) if asked.get("seals_reasoning") else None


def _line(batch: Batch, kind: str, requests: Requests, raw: bytes) -> bytes:
    """The line of an entry; empty for one that is not of this file."""
    (entry,) = decode_all([raw])
    if entry["kind"] != "line" or (entry["status"] == "succeeded") != (kind == OUTPUT):
        return b""
    return orjson.dumps(line_of(batch, entry, requests)) + b"\n"


def line_of(batch: Batch, entry: Mapping[str, Any], requests: Asked | None = None) -> dict[str, Any]:
    """The line of one result. ``requests``: what it repeats."""
    line = {
        "id": f"batch_req_{batch.id}_{entry['batch_index']}",
        "custom_id": entry.get("custom_id") or None,
        "response": None,
        "error": None,
    }
    request_id = entry.get("request_id") or entry["job"]
    if entry["status"] == "succeeded":
        return {
            **line,
            "response": {"status_code": 200, "request_id": request_id, "body": _body(batch, entry, requests)},
        }
    error = entry.get("error") or {"code": "batch_failed", "message": "the line failed"}
    if entry["status"] in ("cancelled", "expired") or any(name in error for name in _NEVER_RAN):
        code = f"batch_{entry['status']}" if entry["status"] in ("cancelled", "expired") else error["code"]
        return {**line, "error": {"code": code, "message": error["message"], "param": error.get("param")}}
    failure = failure_of(error)
    response = {"status_code": failure.status, "request_id": request_id, "body": document_of(failure)}
    return {**line, "response": response}


def _body(batch: Batch, entry: Mapping[str, Any], requests: Asked | None) -> Any:
    """The body of the answer, as its endpoint would have sent it."""
    if entry.get("result"):
        return orjson.Fragment(entry["result"])
    job, entries = _job(batch, entry), _entries(entry)
    if batch.endpoint == _RESPONSES:
        asked = requests.of(entry["batch_index"]) if requests else {}
        fold = ResponseFold(job, asked, requests.seal_of(asked) if requests else None)
        fold.add_all(entries)
        return fold.resource()
    answer = Answer(job.id)
    answer.add_all(entries)
    return text_completion(job, answer) if batch.endpoint == "/v1/completions" else completion(job, answer)


def _job(batch: Batch, entry: Mapping[str, Any]) -> Job:
    created = (entry.get("created_ms") or batch.created_ms) / 1000
    return Job(
        id=entry["job"],
        status=Status.SUCCEEDED,
        owner=batch.owner,
        model=entry.get("model") or batch.model,
        created_at=created,
        deadline_at=created,
        ended_at=(entry.get("ended_ms") or batch.created_ms) / 1000,
        metadata=entry.get("metadata") or {},
    )


def _entries(entry: Mapping[str, Any]) -> list[bytes]:
    """The result as the shortest log that gives it, from which each surface builds its answer."""
    fields: list[dict[str, Any]] = []
    if entry.get("reasoning"):
        fields.append({"kind": "reasoning", "text": entry["reasoning"]})
    if entry.get("content"):
        fields.append({"kind": "token", "text": entry["content"]})
    for index, call in enumerate(entry.get("tool_calls") or ()):
        said = {"call_id": call["id"], "name": call["name"], "arguments": call["arguments"]}
        fields.append({"kind": "tool_call", "index": index, **said})
    # A damaged one must not make the whole file unreadable.
    if (entry.get("usage") or {}).keys() >= _TOKENS:
        fields.append({"kind": "usage", **entry["usage"]})
    fields.append({"kind": "done", "finish_reason": entry.get("finish_reason") or "stop"})
    return [
        orjson.dumps({"id": number, "kind": each.pop("kind"), "at": entry["at"], **each})
        for number, each in enumerate(fields, 1)
    ]
