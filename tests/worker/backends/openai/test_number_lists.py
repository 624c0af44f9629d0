"""Long lists of numbers in JSON text: out of it before it is parsed, and in their places again when it is written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from worker.backends.openai.number_lists import NotNumbers, NumberLists

LONG = [n / 3 for n in range(40_000)]
TEXTS = ["[" + "1," * 2000 + "1]", chr(92) + chr(34) + "[" + "1," * 2000 + "1]" + chr(34), chr(92)]


def lists_of(value: Any) -> NumberLists:
    """The lists in this value's text."""
    return NumberLists(orjson.dumps(value), lambda: None)


@pytest.mark.parametrize(
    "value",
    [
        {"a": LONG, "b": [LONG, {"c": LONG}], "d": [], "e": [1, [2]]},
        {"a": [LONG, TEXTS], **dict.fromkeys(TEXTS, LONG)},
        {"a": TEXTS, "b": [*LONG, "x"], "c": [*LONG, {}]},
        [1, 2],
    ],
    ids=["lists", "with texts like lists", "mixed", "none"],
)
def test_lists_come_back(value: Any) -> None:
    """Whatever stands beside them, also text that looks like one: the written text has the value."""
    lists = lists_of(value)
    assert orjson.loads(lists.restored(orjson.dumps(orjson.loads(lists.text)))) == value


def test_values_in_pieces() -> None:
    """A list's values come some at a time; what is no placeholder has none."""
    lists = lists_of({"a": LONG})
    pieces = lists.pieces(orjson.loads(lists.text)["a"])
    assert pieces is not None
    found = list(pieces)
    assert len(found) > 5
    assert [number for piece in found for number in piece] == LONG
    assert lists.pieces("text") is None
    assert lists.pieces(7) is None


@pytest.mark.parametrize("broken", ["1,,1", "1,1,", ",1", "1 1", "x", "1" * 9 + "."])
def test_list_that_is_none(broken: str) -> None:
    """It is refused when it is read, as the whole text would have been when it was parsed."""
    for text in (broken + ",1" * 60_000, "1," * 60_000 + broken):
        lists = NumberLists(f"[{text}]".encode(), lambda: None)
        with pytest.raises(NotNumbers):
            lists.restored(orjson.dumps(orjson.loads(lists.text)))


def test_others_run_meanwhile() -> None:
    """It pauses within a long list, and between lists."""
    pauses = list[int]()
    lists = NumberLists(orjson.dumps([LONG] * 5), lambda: pauses.append(1))
    before = len(pauses)
    lists.restored(orjson.dumps(orjson.loads(lists.text)))
    assert before >= 5
    assert len(pauses) - before > 25
