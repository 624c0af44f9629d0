"""Data from outside against the shape that it must have: piece by piece, and only the first errors.

What a shape lists in ``PIECES`` is counted first and then checked one piece at a time: pydantic alone would check them
all in one go, and describe each that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from web.problems import Problem, field_problem
from web.slices import in_slices

_ERRORS = 20
"""How many wrong fields an answer names."""
_FIELD_CHARACTERS = 200
"""A field's path in an answer is cut there: its parts are the caller's own words."""
_CONTENT_SHAPES = frozenset({"str", "list[ContentPart]"})
"""What pydantic adds to the path of ``content`` to say which of its two shapes it means."""
_NAMES = 1000
"""How many names an object has whose shape is checked; what is below it may have more."""
_METADATA_NAMES = 16

Shape = TypeVar("Shape", bound=BaseModel)
Item = TypeVar("Item")
Some = Annotated[list[Item], Field(fail_fast=True)]
"""A list that is refused at its first wrong item."""
Pieces = Mapping[str, tuple[type[BaseModel], int]]
"""A shape's long lists: the name of each, the shape of its pieces, and how many there may be."""


def _few_names(said: Any) -> Any:
    if isinstance(said, dict) and len(said) > _METADATA_NAMES:
        raise ValueError(f"has {len(said)} names: at most {_METADATA_NAMES} are allowed")
    return said


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=_METADATA_NAMES),
    BeforeValidator(_few_names),
]
"""A caller's own short texts, by short names."""


def checked(shape: type[Shape], data: Any, place: str = "") -> Shape:
    """The data in its shape. Raises a 422 ``Problem`` with the path of each of the first wrong fields."""
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
    """The data; where the shape forbids other names than its own, without those of them that are too many to be
    described."""
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
        {"field": path_of(error["loc"], place) or "body", "detail": error["msg"].removeprefix("Value error, ")}
        for error in exc.errors(include_url=False, include_input=False)[:_ERRORS]
    ]
    first = problems[0]
    return Problem(422, "Invalid input", f"{first['field']}: {first['detail']}", errors=problems)


def path_of(location: tuple[int | str, ...], place: str) -> str:
    """The path of a field as answers name it: ``messages[0].role``, below ``place``."""
    path = place.rstrip(".")
    for at, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
        elif location[at - 1] != "content" or part not in _CONTENT_SHAPES:
            path += f".{part}" if path else part
    return path if len(path) <= _FIELD_CHARACTERS else f"{path[:_FIELD_CHARACTERS]}…"
