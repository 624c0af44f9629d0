"""The body of ``POST /v1/batches``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from spool.batches.batch import WINDOW_AT_MOST_S, BatchOptions, OnBadLine, Order
from spool.validation import explain
from web.intake.durations import seconds_of
from web.intake.shapes import Metadata, path_of
from web.intake.webhook import Webhook
from web.openai.errors import OpenAIProblem, error_body
from web.openai.lines import ENDPOINTS

ON_BAD_LINE = "on_bad_line"
"""The name in ``metadata`` that says what a line that cannot run does: ``fail`` or ``skip``."""


def _endpoint(value: str) -> str:
    if value not in ENDPOINTS:
        raise ValueError(f"must be one of {', '.join(ENDPOINTS)}")
    return value


def _window(value: str) -> str:
    seconds = seconds_of(value)
    if seconds is None or not 1 <= seconds <= WINDOW_AT_MOST_S:
        raise ValueError("must be a duration of 1s to 30d, as in 24h, 90m or 10s")
    return value


def _metadata(value: dict[str, str]) -> dict[str, str]:
    if value.get(ON_BAD_LINE, "fail") not in ("fail", "skip"):
        raise ValueError(f"{ON_BAD_LINE} must be fail or skip")
    return value


class OutputExpiry(BaseModel):
    """When the output of a batch expires."""

    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class BatchSpoolFields(BaseModel):
    """As in ``POST /batches``."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    webhook: Webhook | None = Field(None, description="A receiver that is told how the batch ends")
    order: Annotated[Order, Field(strict=False)] = Field(Order.INPUT, description="The order in which lines begin")


class BatchRequest(BaseModel):
    """The body. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)

    input_file_id: Annotated[str, Field(max_length=200, description="An uploaded file of JSON lines")]
    endpoint: Annotated[str, AfterValidator(_endpoint), Field(description="The `url` of every line")]
    completion_window: Annotated[
        str, AfterValidator(_window), Field(description="How long the batch may take, as in `24h`, `90m`, `10s`")
    ]
    metadata: (
        Annotated[
            Metadata,
            AfterValidator(_metadata),
            Field(description="The caller's own. `on_bad_line: skip`: lines that cannot run are errors, the rest runs"),
        ]
        | None
    ) = None

    output_expires_after: OutputExpiry | None = Field(
        None, description="How long after its end, when its files are created, the batch and both files are kept"
    )
    spool: BatchSpoolFields | None = Field(None, description="Spool's own fields")

    def options(self, ttl_s: int) -> BatchOptions:
        """How the batch is run."""
        metadata = self.metadata or {}
        return BatchOptions(
            on_bad_line=OnBadLine(metadata.get(ON_BAD_LINE, "fail")),
            completion_window_s=seconds_of(self.completion_window),
            metadata=metadata,
            surface="v1",
            order=self.spool.order if self.spool else Order.INPUT,
            endpoint=self.endpoint,
            input_file=self.input_file_id,
            ttl_s=ttl_s,
            keep_s=self.output_expires_after.seconds if self.output_expires_after else 0,
        )


def parse(data: Any) -> BatchRequest:
    """The checked body. Raises a 400 ``Problem`` with ``param``, and ``code`` ``invalid_value``, ``invalid_type`` or
    ``missing_required_parameter``."""
    try:
        return BatchRequest.model_validate(data)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        param = path_of(error["loc"], "")
        message = f"{param}: {explain(error)}" if param else "the body must be a JSON object"
        body = error_body(message, "invalid_request_error", _code(error["type"]), param or None)
        raise OpenAIProblem(400, "Invalid input", body, {}) from exc


def _code(kind: str) -> str:
    if kind == "missing":
        return "missing_required_parameter"
    return "invalid_type" if kind.endswith("_type") else "invalid_value"
