"""The field ``coalesce`` of a submission: what it may say, and what holds where it says nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from spool.jobs.coalescing import CHARS, CHARS_AT_MOST, MS_AT_MOST, Coalescing
from web.intake.shapes import without_most_unknown


class Coalesce(BaseModel):
    """Pieces of text become one entry when the first of them has waited for ``ms`` milliseconds, when they have
    ``chars`` characters, when a sentence has ended (if ``sentence_end``), when something else comes, or when the job
    ends. With ``ms`` 0 nothing waits, which is the same as false."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ms: Annotated[int, Field(ge=0, le=MS_AT_MOST)] = 1000
    chars: Annotated[int, Field(ge=1, le=CHARS_AT_MOST)] = CHARS
    sentence_end: bool = False


def _false_is_null(said: Any) -> Any:
    # Here, and not one more shape of a union: the path of a wrong field would name the shapes.
    if said is False:
        return None
    if said is not None and not isinstance(said, dict):
        raise ValueError("must be an object, false or null")
    return said and without_most_unknown(Coalesce, said)


CoalesceField = Annotated[
    Coalesce | None,
    BeforeValidator(_false_is_null, json_schema_input_type=Coalesce | Literal[False] | None),
    Field(
        description="Put pieces of text together into fewer, larger entries. False or null: every piece is an entry of "
        "its own. Left out: what the server is set to, by default false, and for the jobs of a batch an entry a second"
    ),
]


def coalescing(said: Coalesce | None, *, is_said: bool, default_ms: int) -> Coalescing | None:
    """What a job is to do: as its submission says, or, where that says nothing, for ``default_ms``. None: every piece
    is an entry."""
    if not is_said:
        return Coalescing(default_ms) if default_ms else None
    return Coalescing(said.ms, said.chars, said.sentence_end) if said and said.ms else None
