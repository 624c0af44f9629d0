"""Query arguments: checked with a pydantic model, which is also their documentation."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from spool.validation import explain
from web.contract import Parameter
from web.problems import field_problem

_CURSOR = re.compile(r"[0-9]{1,18}")
_BACK = re.compile(r"-[1-9][0-9]{0,3}")
BACK_AT_MOST = 1000
_CURSOR_ERROR = "cursor"
LATEST = 10**18
"""A place: the end of the log as it is now."""

PLACE_ERROR = f"must be an entry's id, 0, latest, or -N for the last N entries (at most {BACK_AT_MOST})"


def _digits(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError("must be a whole number")
    return int(value)


def _entry_id(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value:
        return 0
    if not _CURSOR.fullmatch(value):
        raise PydanticCustomError(_CURSOR_ERROR, "must be an entry's id, or 0")
    return int(value)


def _place(value: Any) -> Any:
    if value == "latest":
        return LATEST
    if isinstance(value, str) and _BACK.fullmatch(value):
        if int(value) < -BACK_AT_MOST:
            raise PydanticCustomError(_CURSOR_ERROR, PLACE_ERROR)
        return int(value)
    try:
        return _entry_id(value)
    except PydanticCustomError:
        raise PydanticCustomError(_CURSOR_ERROR, PLACE_ERROR) from None


DIGITS = BeforeValidator(_digits)
"""Of an ``int``: text of up to nine digits. It stands after the limits, which are not described otherwise."""
Cursor = Annotated[int, Field(ge=0, lt=10**18, examples=[7]), BeforeValidator(_entry_id)]
"""The place of a reader in a log: the id of the last entry that it has. Empty means 0."""

Place = Annotated[
    int,
    Field(ge=-BACK_AT_MOST, le=LATEST, examples=[7]),
    BeforeValidator(_place),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": -BACK_AT_MOST}, {"const": "latest"}]}),
]
"""A cursor, the number of the last entries as a negative number, or ``LATEST``."""


class Query(BaseModel):
    """The query of a call. Unknown names are ignored; of a repeated name the first value counts."""

    # Like every shape of the web, it is built when it is first used (defer_build): a tenth of a process's start.
    model_config = ConfigDict(extra="ignore", validate_by_name=True, frozen=True, defer_build=True)


class After(Query):
    """The place from which entries are wanted. ``web.native.beginning`` finds its entry in a job's log."""

    after: Place = Field(
        0,
        description="The id of the last entry that the client has; 0 for all. `latest` begins at the end of the log, "
        f"`-N` with its last N entries (at most {BACK_AT_MOST}).",
    )


NAME_AND_VALUE = r"^[^=]{1,64}(=[\s\S]{0,512})?$"
"""The form of a filter by metadata: a name, or ``name=value``."""

LAST_EVENT_ID = Parameter(
    "Last-Event-ID", Annotated[str, Field(max_length=18, pattern="^[0-9]*$")], "As `after`, which it overrides."
)

Shape = TypeVar("Shape", bound=Query)


def query(shape: type[Shape], *, status: int = 422) -> Shape:
    """The checked query of this request. Raises a ``Problem`` of this status that names the argument; 400 for a
    cursor."""
    names = [field.alias or name for name, field in shape.model_fields.items()]
    try:
        return shape.model_validate({name: request.args[name] for name in names if name in request.args})
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        detail = explain(error)
        status = 400 if error["type"] == _CURSOR_ERROR else status
        raise field_problem(str(error["loc"][0]), detail, status=status) from exc


def name_and_value(text: str | None) -> tuple[str] | tuple[str, str] | None:
    """The name, or name and value, of a text of the form ``NAME_AND_VALUE``."""
    if text is None:
        return None
    name, equals, value = text.partition("=")
    return (name, value) if equals else (name,)


def cursor_of(value: str | None, name: str) -> int:
    """A client's cursor: a number ≥ 0; None or empty means 0. Raises a 400 ``Problem``."""
    if not value:
        return 0
    if not _CURSOR.fullmatch(value):
        raise field_problem(name, "must be an entry's id, or 0", status=400)
    return int(value)


def requested_place() -> int:
    """The place at which the request's reader begins. A non-empty ``Last-Event-ID`` overrides ``after``."""
    last_event_id = request.headers.get(LAST_EVENT_ID.name, "").strip()
    if last_event_id:
        return cursor_of(last_event_id, LAST_EVENT_ID.name)
    return query(After).after
