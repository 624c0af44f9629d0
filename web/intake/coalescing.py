"""The field ``coalesce`` of a submission: its shape and its default."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from spool.jobs.coalescing import CHARS, CHARS_AT_MOST, MS_AT_MOST, Coalescing
from web.intake.shapes import without_most_unknown


class Coalesce(BaseModel):
    """Joins pieces of text into one entry. It is written once the first piece has waited ``ms`` milliseconds, the
    pieces have ``chars`` characters, a sentence ends (if ``sentence_end``), another kind of entry comes, or the job
    ends. ``ms`` 0 turns coalescing off, like false."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    ms: Annotated[int, Field(ge=0, le=MS_AT_MOST)] = 1000
    chars: Annotated[int, Field(ge=1, le=CHARS_AT_MOST)] = CHARS
    sentence_end: bool = False


def _false_is_null(value: Any) -> Any:
    # Checked here and not as a union, because the path of a wrong field would then name the union's shapes.
    if value is False:
        return None
    if value is not None and not isinstance(value, dict):
        raise ValueError("must be an object, false or null")
    return value and without_most_unknown(Coalesce, value)


CoalesceField = Annotated[
    Coalesce | None,
    BeforeValidator(_false_is_null, json_schema_input_type=Coalesce | Literal[False] | None),
    Field(
        description="Join pieces of text into fewer, larger entries. False or null: one entry for each piece. Left "
        "out: the server's setting, by default false, and one entry a second for the jobs of a batch"
    ),
]


def coalescing(field: Coalesce | None, *, is_set: bool, default_ms: int) -> Coalescing | None:
    """The coalescing of a job: its submission's ``field`` if set, otherwise ``default_ms``. None: one entry for each
    piece."""
    if not is_set:
        return Coalescing(default_ms) if default_ms else None
    return Coalescing(field.ms, field.chars, field.sentence_end) if field and field.ms else None
