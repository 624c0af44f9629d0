"""Shapes with long lists: counted first, checked piece by piece, and refused with few errors."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from web.intake.shapes import Metadata, Pieces, Some, checked
from web.problems import Problem


class Piece(BaseModel):
    """One of many."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: str
    numbers: Some[int] = []


class Whole(BaseModel):
    """What has many."""

    PIECES: ClassVar[Pieces] = {"pieces": (Piece, 3)}
    model_config = ConfigDict(extra="forbid", strict=True)

    pieces: Some[Piece] = []
    metadata: Metadata = {}


def refused(data: Any, place: str = "") -> list[str]:
    """The fields that are named."""
    with pytest.raises(Problem) as caught:
        checked(Whole, data, place)
    assert caught.value.status == 422
    return [error["field"] for error in caught.value.extra["errors"]]


def test_what_fits() -> None:
    """What has its shape comes as it is, with what its pieces have beside."""
    whole = checked(Whole, {"pieces": [{"name": "a", "more": [1]}, {"name": "b"}], "metadata": {"k": "v"}})
    assert [piece.model_dump(exclude_unset=True) for piece in whole.pieces] == [
        {"name": "a", "more": [1]},
        {"name": "b"},
    ]


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ([], ["body"]),
        ({"pieces": 1}, ["pieces"]),
        ({"pieces": [1] * 4}, ["pieces"]),
        ({"pieces": [{"name": "a"}, 1, 2]}, ["pieces[1]"]),
        ({"pieces": [{"name": "a"}, {"name": 1}, 2]}, ["pieces[1].name"]),
        ({"pieces": [{"name": "a", "numbers": ["x"] * 9}]}, ["pieces[0].numbers[0]"]),
        ({"metadata": {f"k{n}": n for n in range(17)}}, ["metadata"]),
        ({f"k{n}": n for n in range(1000)}, [f"k{n}" for n in range(20)]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_does_not_fit(data: Any, fields: list[str]) -> None:
    """The first wrong piece is named alone; of unknown names, the first few."""
    assert refused(data) == fields
    assert refused(data, "[3]") == [f"[3].{field}".replace(".body", "") for field in fields]


def test_place_with_a_dot() -> None:
    """A place may end with the dot before a field's name."""
    assert refused({"pieces": [1]}, "[3].") == ["[3].pieces[0]"]
