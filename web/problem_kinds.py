"""Every kind of problem that the API answers with, for its description: status, title, and an example's detail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from web.problems import Problem, field_problem


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One kind. ``extra`` holds further members of its document."""

    status: int
    title: str
    detail: str
    extra: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    """Of its example. Empty: that of its type."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.problem().kind)

    def problem(self) -> Problem:
        """An example."""
        headers = {"Retry-After": "2"} if self.status in (429, 503) else {}
        return Problem(self.status, self.title, self.detail, headers=headers, **self.extra)


_FIELD = field_problem("prompt", "is empty")
_MODEL = field_problem("model", "no model 'x'")

KINDS = (
    ProblemKind(400, "Bad request", "not an HTTP request"),
    ProblemKind(400, "Bad handshake", "Sec-WebSocket-Key must be 16 bytes in base64"),
    ProblemKind(400, "Invalid input", "after: must be an entry's id, or 0", _FIELD.extra, name="invalid-cursor"),
    ProblemKind(401, "Not authenticated", "send a valid key as 'Authorization: Bearer …'"),
    ProblemKind(403, "Not allowed", "this key lacks the scope jobs:write"),
    ProblemKind(404, "Not found", "no such job"),
    ProblemKind(404, "Previous response not found", "previous_response_id: no such response"),
    ProblemKind(405, "Method not allowed", "The method is not allowed for the requested URL."),
    ProblemKind(406, "Not acceptable", "accept one of text/event-stream, application/x-ndjson, text/plain"),
    ProblemKind(408, "Request timeout", "the request did not arrive in time"),
    ProblemKind(409, "Not ended", "the job has not ended"),
    ProblemKind(409, "Ended", "the batch has ended, and can be neither paused nor resumed"),
    ProblemKind(409, "Batch closed", "batch 'b0-…' is sealed, so no lines can be added"),
    ProblemKind(409, "No log", "an older version accepted this batch; read its results"),
    ProblemKind(409, "Conversation busy", "job 'j0-…' of this conversation has not ended"),
    ProblemKind(409, "Conversation locked", "another response of this conversation has not ended; wait until it has"),
    ProblemKind(409, "In progress", "the batch with this Idempotency-Key is being written"),
    ProblemKind(409, "Record damaged", "the stored record of this job cannot be read; submit the job again"),
    ProblemKind(409, "Not running", "the job is not running here"),
    ProblemKind(409, "Batch ended", "cannot cancel a batch with status 'completed'"),
    ProblemKind(409, "Nothing to retry", "no line that could run is without success"),
    ProblemKind(409, "Not deleted", "this file is the output of a batch: it is deleted with the batch"),
    ProblemKind(409, "Too many keys", "there are 100000 keys, the most that are possible"),
    ProblemKind(409, "Too many switches", "1000 switches are on, the most that may be; take others back first"),
    ProblemKind(
        409, "Content unavailable", "the content of file 'file-…' is lost; delete it and upload the file again"
    ),
    ProblemKind(409, "Too many webhooks", "you have 20 webhooks, the most that are possible; delete one first"),
    ProblemKind(409, "cancelled", "the job was cancelled"),
    ProblemKind(410, "Gone", "the job has expired or was deleted"),
    ProblemKind(413, "Request entity too large", "the body is larger than 262144 bytes"),
    ProblemKind(413, "Conversation too large", "a conversation has at most 2000 items; delete items, or begin another"),
    ProblemKind(414, "URI too long", "Request Line is too large"),
    ProblemKind(415, "Wrong media type", "send application/json"),
    ProblemKind(415, "Wrong content coding", "send the body without Content-Encoding"),
    ProblemKind(416, "Requested Range Not Satisfiable", "the file has 120 bytes"),
    ProblemKind(417, "Expectation failed", "only the expectation 100-continue is supported"),
    ProblemKind(422, "Invalid input", _FIELD.detail, _FIELD.extra),
    ProblemKind(
        422, "Invalid input", "model: no model 'x'", {**_MODEL.extra, "known_models": ["demo"]}, name="unknown-model"
    ),
    ProblemKind(422, "Idempotency conflict", "this Idempotency-Key was used with another body"),
    ProblemKind(426, "Upgrade required", "this endpoint is a WebSocket"),
    ProblemKind(429, "Owner queue full", "you have as many jobs queued as one owner may"),
    ProblemKind(429, "Owner memory full", "your jobs hold as much memory as one owner's may"),
    ProblemKind(429, "Too many open batches", "your limit of 1000 open batches is reached; seal or cancel some"),
    ProblemKind(429, "Owner files full", "your limit of stored files is reached; delete some"),
    ProblemKind(429, "Owner conversations full", "your limit of conversations is reached; delete some"),
    ProblemKind(
        429, "Deliveries full", "your limit of outstanding webhook deliveries is reached; wait until some have ended"
    ),
    ProblemKind(429, "Owner streams full", "you have as many streams open as one owner may"),
    ProblemKind(429, "Quota exceeded", "your budget of 1,000 tokens a day is used up (1,234 used); it is renewed at …"),
    ProblemKind(429, "Conversation full", "100 jobs of this conversation have not ended; wait until some have"),
    ProblemKind(429, "Too many requests", "a socket can follow at most 100 jobs; unfollow some"),
    ProblemKind(431, "Headers too large", "limit request headers fields size"),
    ProblemKind(500, "Internal error", "unexpected error; see the server's log"),
    ProblemKind(501, "Not implemented", "Unsupported transfer coding"),
    ProblemKind(502, "upstream error", "the upstream failed"),
    ProblemKind(503, "No key set", "the key set of the identity provider cannot be loaded; retry"),
    ProblemKind(503, "No model", "no model is available"),
    ProblemKind(503, "Queue full", "queue is full"),
    ProblemKind(503, "Submits stopped", "jobs of the model 'demo' are not accepted at the moment: maintenance"),
    ProblemKind(503, "Transport off", "server-sent events are turned off at the moment; use another transport"),
    ProblemKind(503, "Files full", "the stored files are at their limit of 536870912 bytes (SPOOL_MAX_FILES_BYTES)"),
    ProblemKind(503, "Too many uploads", "32 files are being uploaded to this process, the most that it takes; retry"),
    ProblemKind(503, "Store full", "Redis has no memory for more jobs; retry later"),
    ProblemKind(503, "Store refuses writes", "Redis cannot write its files, or lacks replicas; retry later"),
    ProblemKind(503, "Store unavailable", "Redis is unreachable or does not answer; retry"),
    ProblemKind(503, "Store unfit", "this server's Redis user lacks a permission"),
    ProblemKind(503, "Outcome unknown", "the job may or may not have been accepted; look it up"),
    ProblemKind(503, "Record newer", "the record was written by a later version"),
    ProblemKind(503, "Too many streams", "stream limit reached in this process"),
    ProblemKind(503, "Too many requests in reception", "this process receives as many bytes of requests as it may"),
    ProblemKind(503, "Too many folds", "limit of concurrent whole-log reads reached on this instance"),
    ProblemKind(503, "Draining", "this instance is draining; retry"),
    ProblemKind(504, "upstream unavailable", "the upstream did not answer in time"),
)
