"""The body of a submit, validated field by field before anything is written, and the job made from it."""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Any, ClassVar, Literal

import orjson
from flask import request
from gunicorn.http.errors import ParseException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from spool.errors import UnknownModel
from spool.jobs.job import NewJob, OnDisconnect, OnWorkerLoss, Priority, new_job_id
from spool.models.demo_params import DemoParams
from spool.models.model import Model
from web import json_text
from web.intake.coalescing import CoalesceField, coalescing
from web.intake.references import NO_TURNS, References
from web.intake.shapes import Metadata, Pieces, Some, checked
from web.limits.bodies import job_bytes
from web.problems import Problem, field_problem, model_problem
from web.services import State, state
from web.slices import in_slices, pause

MESSAGES_AT_MOST = 10_000
_PARTS_AT_MOST = 1000
_LONG_TEXT = 65_536
"""Bytes of JSON text above which parsing takes so long that the request yields before the check."""
_PIECE_BYTES = 64 * 1024


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ContentPart(BaseModel):
    """One part of a message, in OpenAI's shape. The fields of its type go to the model unchanged."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Annotated[str, Field(min_length=1, max_length=64)]


class Message(BaseModel):
    """One message of a conversation, in OpenAI's shape."""

    model_config = ConfigDict(extra="allow", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[Some[ContentPart], Field(max_length=_PARTS_AT_MOST)] | None = None


def _not_blank(prompt: str) -> str:
    if not prompt.strip():
        raise ValueError("is empty")
    return prompt


class Submission(_Strict):
    """The body of ``POST /jobs``."""

    PIECES: ClassVar[Pieces] = {"messages": (Message, MESSAGES_AT_MOST)}

    prompt: Annotated[str, Field(min_length=1), AfterValidator(_not_blank)] | None = None
    messages: Annotated[Some[Message], Field(min_length=1, max_length=MESSAGES_AT_MOST)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    continue_from: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    priority: Priority = Field(Priority.INTERACTIVE, strict=False)
    metadata: Metadata = Field(default_factory=dict)
    ttl_s: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    timeout_s: Annotated[float, Field(ge=0.1, le=604_800, allow_inf_nan=False)] | None = None
    on_disconnect: OnDisconnect = Field(OnDisconnect.CONTINUE, strict=False)
    on_worker_loss: OnWorkerLoss | None = Field(None, strict=False)
    coalesce: CoalesceField = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Submission:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        return self

    def conversation(self) -> list[dict[str, Any]]:
        """The messages; a prompt becomes one user message."""
        if self.messages is None:
            return [{"role": "user", "content": self.prompt}]
        return [message.model_dump(exclude_unset=True) for message in in_slices(self.messages)]


def json_body() -> Any:
    """The body of a request for one job, as JSON. Raises a 413, 415 or 422 ``Problem``."""
    if request.mimetype != "application/json":
        raise Problem(415, "Wrong media type", "send application/json", headers={"Accept": "application/json"})
    settings = state().settings
    request.max_content_length = job_bytes(settings.max_body_bytes, settings.max_prompt_bytes)
    return parse_json(body(), "body")


def body() -> bytes:
    """The complete request body, because the rest of a batch must not get lost with its client. Raises 413 for a body
    that is too large, 415 for a compressed one, and 400 for a truncated one."""
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity"):
        # RFC 9110 section 15.5.16.
        raise Problem(
            415,
            "Wrong content coding",
            "send the body without Content-Encoding",
            headers={"Accept-Encoding": "identity"},
        )
    length, most = request.content_length, request.max_content_length or math.inf
    if (length or 0) > most:
        raise RequestEntityTooLarge
    data = _received(most)
    # Werkzeug does not report a body that is shorter than its Content-Length.
    if length is not None and len(data) < length:
        raise ClientDisconnected
    return data


def _received(most: float) -> bytes:
    """The bytes of the body. It does not use ``request.get_data``, which holds an extra buffer of 64 KiB while it waits
    for more."""
    stream, data = get_input_stream(request.environ), bytearray()
    try:
        # No variable for a piece: it would live beside its copy until the next piece comes.
        size = -1
        while size < len(data):
            size = len(data)
            data += stream.read(_PIECE_BYTES)
            if len(data) > most:
                raise RequestEntityTooLarge
    except (OSError, ParseException) as exc:
        raise ClientDisconnected from exc
    return bytes(data)


def parse_json(raw: bytes | memoryview, place: str) -> Any:
    """Parse JSON text. Raises a 422 ``Problem`` that names ``place``."""
    try:
        data = json_text.load(raw)
    except json_text.Refused as exc:
        raise field_problem(place, str(exc)) from exc
    if len(raw) > _LONG_TEXT:
        pause()
    return data


def parse_submission(data: Any, place: str = "") -> Submission:
    """A submission from JSON data. Raises a 422 ``Problem`` with the paths of the first wrong fields."""
    return checked(Submission, data, place)


def new_job(
    services: State,
    submission: Submission,
    owner: str,
    *,
    place: str = "",
    as_text: bool = False,
    surface: str = "jobs",
    references: References | None = None,
) -> NewJob:
    """The job made from a submission. Pass the ``references`` of the whole request if it has several submissions.
    Raises a ``Problem`` and the errors of ``References``, before anything is written."""
    model = known_model(services, submission.model, place)
    default_ms = services.settings.batch_coalesce_ms if surface == "batches" else services.settings.coalesce_ms
    earlier = NO_TURNS
    if submission.continue_from:
        references = references or References(services, owner)
        earlier = references.turns(submission.continue_from, f"{place}continue_from")
    new = NewJob(
        id=new_job_id(shard=0),
        owner=owner,
        model=model.name,
        input={
            "messages": [*earlier.messages, *submission.conversation()],
            "params": submission.params
            if model.backend != "demo"
            else check_demo_params(submission.params, f"{place}params"),
        },
        priority=submission.priority,
        surface=surface,
        metadata=submission.metadata,
        ttl_s=submission.ttl_s or services.settings.job_ttl_s,
        timeout_s=submission.timeout_s or services.settings.job_timeout_s,
        start_s=model.start_s,
        on_disconnect=submission.on_disconnect,
        # Sent text cannot be retracted: a job whose first reader gets bare text continues or fails, never restarts.
        on_worker_loss=submission.on_worker_loss or (OnWorkerLoss.FAIL if as_text else OnWorkerLoss.RESTART),
        continuable=model.continues,
        coalesce=coalescing(
            submission.coalesce, is_set="coalesce" in submission.model_fields_set, default_ms=default_ms
        ),
        divided=earlier.divided,
    )
    check_size(services, new, f"{place}{'prompt' if submission.messages is None else 'messages'}", place)
    return new


def known_model(services: State, name: str | None, place: str = "") -> Model:
    """The model of that name, or the default. Raises a 422 ``Problem`` that lists some known models."""
    try:
        return services.models.get(name)
    except UnknownModel as exc:
        raise model_problem(exc, place) from exc


def check_size(services: State, new: NewJob, field: str, place: str = "") -> None:
    """Raise a ``Problem`` if the job's input exceeds the prompt limit or is nested too deeply. ``field`` is the field
    that the size is attributed to."""
    try:
        size = len(new.encode_input())
    except orjson.JSONEncodeError as exc:
        # orjson reads 1024 levels but writes only 254.
        raise field_problem(place.rstrip(".") or "body", "is nested too deeply") from exc
    if size > services.settings.max_prompt_bytes:
        detail = f"is longer than {services.settings.max_prompt_bytes} bytes, with all earlier turns"
        raise field_problem(field, detail, status=413)


def digest(data: Any) -> str:
    """A digest of JSON data, independent of white space and the order of names."""
    return hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def idempotency_digest() -> str:
    """A digest of the Idempotency-Key header; empty without the header. Raises a 422 ``Problem``."""
    value = request.headers.get("Idempotency-Key")
    if value is None:
        return ""
    if not 1 <= len(value) <= 255 or not value.isprintable():
        raise field_problem("Idempotency-Key", "must be 1 to 255 printable characters")
    return hashlib.sha256(value.encode()).hexdigest()[:32]


def check_demo_params(params: dict[str, Any], place: str) -> dict[str, Any]:
    """The params, unchanged, if they are valid for the demo backend. Raises a 422 ``Problem``."""
    checked(DemoParams, params, place)
    return params
