"""Valid JSON made wrong in its structure, reproducibly: ``mutated`` gives bytes that depend on the generator alone."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

Rng = random.Random
Place = tuple[Any, Any]
"""A container, and the name or index of one value in it."""

_SCALARS: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    1.5,
    2**53,
    2**64,
    10**30,
    1e308,
    "",
    " ",
    "x",
    "0",
    "\0",
    "🧵",
    [],
    {},
]
_BIG = (100, 1_000, 20_000, 120_000)


def _raw(rng: Rng) -> str:
    """JSON text, or what looks like it, that no value is written as."""
    number = rng.choice(_BIG)
    return rng.choice(
        [
            lambda: "[" * number + "]" * number,
            lambda: '{"a":' * number + "1" + "}" * number,
            lambda: "[" + "1," * number + "1]",
            lambda: "[" + "{}," * number + "{}]",
            lambda: "[" + '{"type":"text","text":"x"},' * number + "1]",
            lambda: "{" + ",".join(f'"k{n}":{n}' for n in range(number)) + "}",
            lambda: '"' + "x" * number + '"',
            lambda: '"' + "\\u0000" * number + '"',
            lambda: '"data:image/png;base64,' + "A" * number * 10 + '"',
            lambda: "9" * number,
            lambda: "-1e" + "9" * number,
            lambda: '"\\ud800"',
            lambda: "NaN",
            lambda: rng.choice(["1e400", "-1e400", "-0", "1e-400", str(2**63), str(-(2**63) - 1), "0.1e1", "01", "+1"]),
            lambda: '{"a":1,"a":[],"a":{}}',
            lambda: "\n" * number,
        ]
    )()


def _places(data: Any) -> Iterator[Place]:
    """Every place in the data, outermost first."""
    inner = list(data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ())
    for name, value in inner:
        yield data, name
        yield from _places(value)


class _Mutation:
    """One structural change; ``raws`` collects text that stands for placeholders."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.raws: list[str] = []
        self._repeats = (2, 600, 10_001)

    def odd(self) -> Any:
        """A value that is hardly ever right."""
        if self.rng.random() < 0.6:
            return copy.deepcopy(self.rng.choice(_SCALARS))
        self.raws.append(_raw(self.rng))
        return f"@@{len(self.raws) - 1}@@"

    def apply(self, data: Any) -> Any:
        """The data with one change."""
        places = list(_places(data))
        if not places or self.rng.random() < 0.05:
            return self.odd()
        container, name = self.rng.choice(places)
        change: Callable[[Any, Any], None] = self.rng.choice(
            [self._replace, self._replace, self._replace, self._remove, self._wrap, self._swap, self._repeat, self._add]
        )
        change(container, name)
        return data

    def _replace(self, container: Any, name: Any) -> None:
        container[name] = self.odd()

    def _remove(self, container: Any, name: Any) -> None:
        del container[name]

    def _wrap(self, container: Any, name: Any) -> None:
        container[name] = self.rng.choice([[container[name]], {"a": container[name]}, {"type": container[name]}])

    def _swap(self, container: Any, name: Any) -> None:
        other = self.rng.choice(list(container.keys() if isinstance(container, dict) else range(len(container))))
        container[name], container[other] = container[other], container[name]

    def _repeat(self, container: Any, name: Any) -> None:
        container[name] = [container[name]] * self.rng.choice(self._repeats)
        # Repeated once more, what was repeated would no longer fit into memory.
        self._repeats = (2,)

    def _add(self, container: Any, name: Any) -> None:
        if isinstance(container, dict):
            container[self.rng.choice(["type", "x", "", "stream", "role", "\0", "n" * 300])] = self.odd()
        else:
            container.insert(name, self.odd())


def mutated(rng: Rng, example: Any) -> bytes:
    """The example as JSON text, with up to three changes, and now and then with broken bytes."""
    mutation, data = _Mutation(rng), copy.deepcopy(example)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        data = mutation.apply(data)
    text = json.dumps(data, ensure_ascii=rng.random() < 0.5)
    for number, raw in enumerate(mutation.raws):
        text = text.replace(f'"@@{number}@@"', raw, 1)
    return broken(rng, text.encode(errors="surrogatepass")) if rng.random() < 0.15 else text.encode()


def broken(rng: Rng, raw: bytes) -> bytes:
    """Bytes with one thing wrong."""
    at = rng.randrange(len(raw) + 1)
    return rng.choice(
        [
            raw[:at],
            raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :],
            raw[:at] + rng.choice([b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"\\", b"]"]) + raw[at:],
            b"\xef\xbb\xbf" + raw,
            raw + b"x",
            raw + raw,
            b" " * 100_000 + raw,
        ]
    )
