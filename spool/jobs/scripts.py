"""The Lua scripts of ``spool/jobs/lua``, each linked with the definitions of ``lua/lib`` that it uses.

Lua creates every function of a script again for each call. A script with the whole library would spend most of its time
on functions that it does not use. A definition that contains ``--[[LIBRARY]]`` is linked lazily: the definitions that
only it uses are created at that line, when it is called. The same mark between the statements of a script divides it:
what only the part after the mark uses is created when the script gets there.

A script declares its arguments once, by name: ``--[[ARGUMENTS id limit:number is_last:flag jobs...]]`` becomes one
local each, and ``jobs_at``, the place in ``ARGV`` at which the list of the remaining arguments begins. Python passes
them by name, too (``arguments``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from spool.jobs.conversation_blocks import OVERHEAD_BYTES
from spool.jobs.job import FIELDS, SCHEMA, TRANSITIONS
from spool.keys import STORED_NAMES
from spool.redis.script import Script

LIBRARY = (
    *(
        "shard",
        "indexes",
        "server",
        "ledger",
        "old_ledger",
        "limits",
        "owner_limits",
        "blocks",
        "fair",
        "queue",
        "takeover",
        "choice",
        "holds",
    ),
    *("batches", "log", "job", "records"),
)
"""The files of ``lua/lib``, in order: a definition uses only earlier ones. The files of ``lua`` itself are scripts."""
_MARK = "--[[LIBRARY]]"
_FUNCTION = re.compile(r"^local function (\w+)\(.*?^end$", re.DOTALL | re.MULTILINE)
_VALUE = re.compile(r"^local (?!function)([\w, ]+?)(?: =[^\n]*)?(?:\n[ }][^\n]*)*$", re.MULTILINE)
_VARIABLE = re.compile(r"local \w+(?: = \{\})?")
_STORED = re.compile(rf"((?<=')(?:{'|'.join(STORED_NAMES)})(?=')|(?<=\w\.)(?:{'|'.join(STORED_NAMES)})\b)")
_ARGUMENTS = re.compile(r"--\[\[ARGUMENTS ([^\]]+)\]\]")
_CONVERSIONS = {"": "ARGV[{}]", "number": "tonumber(ARGV[{}])", "flag": "ARGV[{}] == '1'"}
_NOT_CODE = re.compile(r"""'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|--[^\n]*""")
_WORD = re.compile(r"(?:(?<![\w.])|(?<=\.\.))[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class _Definition:
    """A function, or a ``local`` of one or more values, and its place in the library."""

    place: int
    names: frozenset[str]
    text: str
    words: frozenset[str]
    """The names that occur in it."""

    @property
    def outer_words(self) -> frozenset[str]:
        """The names needed when it is created: none for a lazily linked body."""
        return frozenset() if _MARK in self.text else self.words


class _Library:
    def __init__(self, text: str) -> None:
        matches = sorted(
            [*_FUNCTION.finditer(text), *_VALUE.finditer(_FUNCTION.sub(_blank, text))], key=lambda m: m.start()
        )
        self.definitions = [
            _Definition(place, frozenset(re.split(r",\s*", match[1])), match[0], _words(match[0]))
            for place, match in enumerate(matches)
        ]
        self._by_name = {name: definition for definition in self.definitions for name in definition.names}

    def link(self, words: Iterable[str], visible: frozenset[str], before: int) -> tuple[str, frozenset[str]]:
        """Link the definitions that these words need, directly or indirectly.

        Only definitions before the place ``before`` and not yet ``visible`` count. Returns their text and the names
        that are visible after it.
        """
        needed: set[_Definition] = set()
        waiting = list(words)
        while waiting:
            item = self._by_name.get(waiting.pop())
            if item and item.place < before and item not in needed and not item.names <= visible:
                needed.add(item)
                waiting += item.outer_words
        parts = []
        for item in sorted(needed, key=lambda each: each.place):
            parts.append(self.expand(item.text, item.words, visible, item.place))
            visible |= item.names
        return "\n".join(parts), visible

    def state_of(self, words: Iterable[str]) -> frozenset[str]:
        """The variables that these words need, also through lazily linked definitions: a script has one of each."""
        reached: set[_Definition] = set()
        waiting = list(words)
        while waiting:
            item = self._by_name.get(waiting.pop())
            if item and item not in reached:
                reached.add(item)
                waiting += item.words
        return frozenset(name for item in reached if _VARIABLE.fullmatch(item.text) for name in item.names)

    def expand(self, text: str, words: frozenset[str], visible: frozenset[str], before: int) -> str:
        """Replace the mark in the text, if any, by the definitions that its ``words`` need."""
        if _MARK not in text:
            return text
        return text.replace(_MARK, self.link(words, visible, before)[0])


@cache
def script(name: str, schema: int = SCHEMA) -> Script:
    """The script ``spool/jobs/lua/{name}.lua``, read once. ``schema`` is the newest record version that it reads."""
    shebang, _, body = _read(name).partition("\n")
    text = f"{shebang}\n{linked(body, schema)}"
    return Script.of(name, text)


def linked(body: str, schema: int = SCHEMA) -> str:
    """A script's text, with the definitions that it uses before it.

    With a mark on a line of its own, definitions that only the part after the mark uses are created there: a call that
    returns earlier does not pay for them.
    """
    library = _library(schema)
    everything = len(library.definitions)
    body = _ARGUMENTS.sub(_locals, body)
    needed, visible, parts = library.state_of(_words(body)), frozenset[str](), []
    for part in body.split(f"\n{_MARK}\n"):
        lazy = [match for match in _FUNCTION.finditer(part) if _MARK in match[0]]
        outside = part
        for match in lazy:
            outside = outside.replace(match[0], "")
        definitions, visible = library.link(_words(outside) | needed, visible, everything)
        for match in lazy:
            part = part.replace(match[0], library.expand(match[0], _words(match[0]), visible, everything))
        parts += [definitions, part]
    names = ", ".join(f"'{name}'" for name in FIELDS)
    return _STORED.sub(_stored, "\n".join(parts).replace("--[[JOB_FIELDS]]", names))


def arguments(name: str, rest: Iterable[object] = (), /, **values: object) -> list[object]:
    """A script's arguments in its order, by the names that it declares. ``rest`` is its list, if it has one. Raises
    ``TypeError`` for a missing or unknown name."""
    names = _declared(name)
    if values.keys() != set(names):
        raise TypeError(f"{name}.lua declares {', '.join(names)}; got {', '.join(values)}")
    return [*(values[each] for each in names), *rest]


@cache
def _declared(name: str) -> tuple[str, ...]:
    declared = _ARGUMENTS.search(_read(name))
    words = declared[1].split() if declared else []
    return tuple(word.partition(":")[0] for word in words if not word.endswith("..."))


def _stored(name: re.Match[str]) -> str:
    return name[0].replace(name[1], STORED_NAMES[name[1]])


def _locals(declared: re.Match[str]) -> str:
    words = declared[1].split()
    rest = words.pop().removesuffix("...") if words[-1].endswith("...") else None
    names, kinds = zip(*((word.partition(":")[0], word.partition(":")[2]) for word in words), strict=True)
    values = ", ".join(_CONVERSIONS[kind].format(place) for place, kind in enumerate(kinds, 1))
    return f"local {', '.join(names)} = {values}" + (f"\nlocal {rest}_at = {len(words) + 1}" if rest else "")


def library_names() -> frozenset[str]:
    """The names that the library defines."""
    return frozenset(name for definition in _library(SCHEMA).definitions for name in definition.names)


@cache
def _library(schema: int) -> _Library:
    text = "\n".join(_read(f"lib/{name}") for name in LIBRARY)
    values = {"TRANSITIONS": transitions_as_lua(), "SCHEMA": str(schema), "BLOCK_OVERHEAD": str(OVERHEAD_BYTES)}
    for name, value in values.items():
        text = text.replace(f"--[[{name}]]", value)
    return _Library(text)


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(_NOT_CODE.sub(" ", text)))


def _blank(match: re.Match[str]) -> str:
    """Dashes of the same length and lines, so that positions stay the same."""
    return "\n".join("-" * len(line) for line in match[0].split("\n"))


def _read(name: str) -> str:
    return (resources.files("spool.jobs") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def transitions_as_lua() -> str:
    """The inside of a Lua table: ``queued={running=true,…},…``."""
    return ",".join(
        f"{source}={{{','.join(f'{target}=true' for target in sorted(targets))}}}"
        for source, targets in TRANSITIONS.items()
    )
