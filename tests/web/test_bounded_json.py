"""JSON text within bounds: what is counted, and where an array's elements begin and end."""

from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest

from web import bounded_json
from web.bounded_json import MAX_DEPTH, MAX_VALUES, Refused, TooLarge

STRINGS = ["", "a,b", "x\\", '"', "[", '\\"', "é\n", " {", "\\\\", "]" * 300, '"' * 7, "\\" * 5]
LONG = "\\n[,:" * 50_000


def value(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value, with strings that look like structure."""
    kind = rng.random()
    if depth > 4 or kind < 0.4:
        return rng.choice([1, -1.5, None, True, *STRINGS])
    if kind < 0.7:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(STRINGS): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def written(rng: random.Random, data: Any) -> bytes:
    """JSON text of the data, in any style."""
    text = json.dumps(data, indent=rng.choice([None, 1]), ensure_ascii=rng.random() < 0.5)
    return rng.choice(["", " \n"]).encode() + text.encode() + rng.choice(["", "\t "]).encode()


def array_of(raw: bytes) -> list[Any] | None:
    """The array that its elements make; None if it is refused."""
    try:
        return [orjson.loads(element) for element in bounded_json.elements(raw, 1000, 10**9)]
    except ValueError:
        return None


def parsed(raw: bytes) -> list[Any] | None:
    """The array as orjson parses it; None if it is no array."""
    try:
        data = orjson.loads(raw)
    except ValueError:
        return None
    return data if isinstance(data, list) else None


@pytest.mark.parametrize("seed", range(20))
def test_elements_of_any_array(seed: int) -> None:
    """The elements of any array, whole or with bytes changed, parse to what the array parses to."""
    rng = random.Random(seed)
    for _ in range(100):
        raw = written(rng, [value(rng) for _ in range(rng.randrange(6))])
        assert array_of(raw) == parsed(raw) != None, raw  # noqa: E711 - a chain
        changed = bytearray(raw)
        for _ in range(rng.randrange(1, 3)):
            changed[rng.randrange(len(changed))] = rng.choice(b'[]{},:"\\ 1a')
        assert array_of(bytes(changed)) == parsed(bytes(changed)), bytes(changed)


@pytest.mark.parametrize("inner", [LONG, '"' * 90_000, "\\" * 90_001, " " * 200_000], ids=lambda text: repr(text)[:10])
def test_elements_with_a_long_string(inner: str) -> None:
    """A string that is longer than what is looked at in one piece ends where its own quote is."""
    data = [{"a": inner, "b": [inner, {}]}, inner, 1]
    assert array_of(orjson.dumps(data)) == data
    assert bounded_json.load(orjson.dumps([*data, [[]] * 300])) == [*data, [[]] * 300]


def test_elements_more_than_allowed() -> None:
    """An array of more elements than are allowed is refused, with what is allowed."""
    assert len(bounded_json.elements(b"[1,2,3]", 3, 1)) == 3
    with pytest.raises(Refused, match="more than 2 elements"):
        bounded_json.elements(b"[1,2,3]", 2, 1)


@pytest.mark.parametrize(
    "inner", [LONG, '"' * 90_000, " " * 200_000, [1] * 50_000, [[]] * 5000, 10**4000], ids=lambda i: repr(i)[:10]
)
@pytest.mark.parametrize("before", [0, 3])
def test_elements_larger_than_allowed(inner: Any, before: int) -> None:
    """The first element that is larger than allowed is named by its index, wherever its bytes are."""
    text = json.dumps(inner).encode()
    raw = b"[" + b"1," * before + text + b"," + text + b"]"
    assert len(bounded_json.elements(raw, 10, len(text))) == before + 2
    with pytest.raises(TooLarge) as caught:
        bounded_json.elements(raw, 10, len(text) - 1)
    assert caught.value.index == before


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":[', "]}]")])
def test_depth(opening: str, closing: str) -> None:
    """As many levels as are allowed are taken, and one more is not, whatever they are."""
    per = opening.count("[") + opening.count("{")
    allowed = MAX_DEPTH // per
    inner = "1" + " " * (MAX_DEPTH - allowed * per)
    bounded_json.load((opening * allowed + inner + closing * allowed).encode())
    for depth in (allowed + 1, 1_000, 100_000):
        with pytest.raises(Refused, match=f"deeper than {MAX_DEPTH} levels"):
            bounded_json.load((opening * depth + "1" + closing * depth).encode())


def test_depth_of_what_stands_side_by_side() -> None:
    """Levels count, and not brackets."""
    data = [[[]]] * (MAX_DEPTH * 5)
    assert bounded_json.load(orjson.dumps(data)) == data
    assert bounded_json.load(orjson.dumps("[" * 5000)) == "[" * 5000


@pytest.mark.parametrize("one", ["1", "[]", "{}", '""', '"a,b"'])
def test_values(one: str) -> None:
    """More values than are allowed are refused, however short each is; what stands in strings does not count."""
    few, many = (f"[{','.join([one] * number)}]".encode() for number in (MAX_VALUES // 3, MAX_VALUES))
    assert len(bounded_json.load(few)) == MAX_VALUES // 3
    with pytest.raises(Refused, match=f"more than {MAX_VALUES} values"):
        bounded_json.load(many)


def test_values_in_a_string() -> None:
    """Text is one value, whatever it looks like."""
    text = 'a,b:c[{\\"' * MAX_VALUES
    assert bounded_json.load(orjson.dumps([text])) == [text]
