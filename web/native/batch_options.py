"""How a batch is run: what the query and the object of an open batch say."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from spool.batches.batch import WINDOW_AT_MOST_S, BatchOptions, OnBadLine
from web import auth
from web.intake.durations import seconds_of
from web.intake.shapes import Metadata, checked
from web.intake.webhook import Webhook, stored_webhook
from web.problems import field_problem
from web.services import state

_BLANK = b" \t\r\n"


class MetadataField(BaseModel):
    """The metadata of a batch."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    metadata: Metadata = Field(default_factory=dict, description="The caller's own names and texts")


class OpenBatch(MetadataField):
    """A batch to which lines are added until it is sealed. What it does not say is as in the query."""

    open: Literal[True]
    on_bad_line: Literal["refuse", "skip"] | None = Field(
        None, description="What a line that cannot run does: `refuse` the lines that come with it, or `skip`"
    )
    completion_window: Annotated[str, Field(max_length=20)] | None = Field(
        None, description="The time within which it must be sealed and all lines must end, as in `24h`; else `7d`"
    )
    keep_jobs: bool | None = None
    webhook: Webhook | None = Field(None, description="A receiver that is told how the batch ends")


def window_of(text: str | None) -> int | None:
    """The seconds of a completion window; None without one. Raises a 422 ``Problem``."""
    if text is None:
        return None
    seconds = seconds_of(text)
    if seconds is None or not 1 <= seconds <= WINDOW_AT_MOST_S:
        raise field_problem("completion_window", "must be a duration of 1s to 30d, as in 24h, 90m or 10s")
    return seconds


def is_object(text: bytes) -> bool:
    """Whether a JSON text is an object, if it is valid."""
    return text.lstrip(_BLANK)[:1] == b"{"


def options_of_open(data: Any, options: BatchOptions) -> BatchOptions:
    """How an open batch is run: as its object says, and else as ``options``. Raises a 422 ``Problem``."""
    asked, webhook = checked(OpenBatch, data), options.webhook
    on_bad_line = OnBadLine(asked.on_bad_line) if asked.on_bad_line else options.on_bad_line
    if on_bad_line is OnBadLine.FAIL:
        raise field_problem("on_bad_line", "must be refuse or skip for an open batch")
    if asked.webhook is not None:
        webhook = stored_webhook(asked.webhook, auth.owner(), state().settings.webhook_addresses(), "webhook")
    return replace(
        options,
        is_open=True,
        on_bad_line=on_bad_line,
        completion_window_s=window_of(asked.completion_window) or options.completion_window_s,
        keep_jobs=options.keep_jobs if asked.keep_jobs is None else asked.keep_jobs,
        metadata=asked.metadata or options.metadata,
        webhook=webhook,
        ttl_s=state().settings.job_ttl_s,
    )
