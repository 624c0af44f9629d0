"""Validation of client data against pydantic shapes: piece by piece, reporting only the first errors.

The lists in a shape's ``PIECES`` are counted first and then checked one piece at a time. Pydantic alone would check all
pieces at once, and describe every wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from spool.validation import explain
from web.problems import Problem, field_problem
from web.time_slices import in_slices

_ERRORS = 20
"""The most wrong fields that a response names."""
_FIELD_CHARACTERS = 200
"""A field's path is truncated to this in a response, because it contains the caller's own text."""
_CONTENT_SHAPES = frozenset({"str", "list[ContentPart]"})
"""The path parts by which pydantic tells the two shapes of ``content`` apart."""
_NAMES = 1000
"""The most names in a checked object; objects below it may have more."""
_METADATA_NAMES = 16

Shape = TypeVar("Shape", bound=BaseModel)
Item = TypeVar("Item")
Some = Annotated[list[Item], Field(fail_fast=True)]
"""A list whose validation stops at the first wrong item."""
Pieces = Mapping[str, tuple[type[BaseModel], int]]
"""A shape's long lists by name: the shape of the pieces, and the most pieces."""


def _few_names(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > _METADATA_NAMES:
        raise ValueError(f"has {len(value)} names: at most {_METADATA_NAMES} are allowed")
    return value


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=_METADATA_NAMES),
    BeforeValidator(_few_names),
]
"""A caller's own metadata: short texts by short names."""


def checked(shape: type[Shape], data: Any, place: str = "") -> Shape:
    """The data as an instance of ``shape``. Raises a 422 ``Problem`` with the paths of the first wrong fields."""
    if not isinstance(data, dict):
        raise field_problem(place or "body", "must be a JSON object")
    if len(data) > _NAMES:
        raise field_problem(place.rstrip(".") or "body", f"has {len(data)} names: at most {_NAMES} are allowed")
    data = _with_pieces(shape, without_most_unknown(shape, data), place)
    try:
        return shape.model_validate(data)
    except ValidationError as exc:
        raise _invalid(exc, place) from exc


def without_most_unknown(shape: type[BaseModel], data: dict[str, Any]) -> dict[str, Any]:
    """The data. For a shape that forbids unknown names, it keeps only as many of them as a response describes."""
    fields = shape.model_fields
    if shape.model_config.get("extra") != "forbid" or len(data) <= len(fields):
        return data
    unknown = islice((name for name in data if name not in fields), _ERRORS)
    return {name: data[name] for name in [*(name for name in fields if name in data), *unknown]}


def _with_pieces(shape: type[BaseModel], data: dict[str, Any], place: str) -> dict[str, Any]:
    pieces: Pieces = getattr(shape, "PIECES", {})
    for name, (piece, at_most) in pieces.items():
        values = data.get(name)
        if not isinstance(values, list):
            continue
        path = path_of((name,), place)
        if len(values) > at_most:
            raise field_problem(path, f"has {len(values)} items: at most {at_most} are allowed")
        data = {**data, name: [checked(piece, value, f"{path}[{at}]") for at, value in enumerate(in_slices(values))]}
    return data


def _invalid(exc: ValidationError, place: str) -> Problem:
    problems = [
        {"field": path_of(error["loc"], place) or "body", "detail": explain(error)}
        for error in exc.errors(include_url=False, include_input=False)[:_ERRORS]
    ]
    first = problems[0]
    return Problem(422, "Invalid input", f"{first['field']}: {first['detail']}", errors=problems)


def path_of(location: tuple[int | str, ...], place: str) -> str:
    """A field's path as responses name it, below ``place``: ``messages[0].role``."""
    path = place.rstrip(".")
    for at, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
        elif location[at - 1] != "content" or part not in _CONTENT_SHAPES:
            path += f".{part}" if path else part
    return path if len(path) <= _FIELD_CHARACTERS else f"{path[:_FIELD_CHARACTERS]}…"
