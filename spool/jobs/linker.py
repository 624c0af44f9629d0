"""The linker of Lua scripts: puts the definitions of ``lua/lib`` that a script uses before it.

Lua creates every function of a script again for each call. A script with the whole library would spend most of its time
on functions that it does not use. A definition that contains ``--[[LIBRARY]]`` is linked lazily: the definitions that
only it uses are created at that line, when it is called. The same mark between the statements of a script divides it:
what only the part after the mark uses is created when the script gets there.

A function also captures each variable of the function around it that it uses, by a search over all captured ones. So
constants are replaced by their values; and the base is defined outside of a function that contains all else, which
captures it once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from spool.jobs.conversation_blocks import OVERHEAD_BYTES
from spool.jobs.job import FIELDS, LINE, OPEN_LINE, PACKED, SCHEMA, TRANSITIONS
from spool.jobs.packing import TAIL_BYTES
from spool.keys import STORED_NAMES

BASE = ("shard", "indexes", "server")
"""The files of ``lua/lib`` that most others use."""
LIBRARY = (
    *BASE,
    *(
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
    *("batches", "log", "told", "packing", "usage", "events", "outbox", "batch_log", "job", "records"),
)
"""The files of ``lua/lib``, in order: a definition uses only earlier ones. The files of ``lua`` itself are scripts."""
_MARK = "--[[LIBRARY]]"
_BASE_ENDS = "--[[BASE ENDS]]"
_FUNCTION = re.compile(r"^local function (\w+)\(.*?^end$", re.DOTALL | re.MULTILINE)
_VALUE = re.compile(r"^local (?!function)([\w, ]+?)(?: =[^\n]*)?(?:\n[ }][^\n]*)*$", re.MULTILINE)
_VARIABLE = re.compile(r"local \w+(?: = \{\})?")
_STORED = re.compile(rf"((?<=')(?:{'|'.join(STORED_NAMES)})(?=')|(?<=\w\.)(?:{'|'.join(STORED_NAMES)})\b)")
_CONSTANT = re.compile(
    r"^ *local ([A-Z][A-Z_0-9]*) = ('[^'\n]*'|tonumber\('\d+'\)|[\d.e]+(?: [*/] [\d.e]+)*)$\n?", re.MULTILINE
)
ARGUMENTS = re.compile(r"--\[\[ARGUMENTS ([^\]]+)\]\]")
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
    is_base: bool
    """Whether most others use it."""

    @property
    def outer_words(self) -> frozenset[str]:
        """The names needed when it is created: none for a lazily linked body."""
        return frozenset() if _MARK in self.text else self.words


class _Library:
    def __init__(self, text: str) -> None:
        base_ends = text.index(_BASE_ENDS)
        matches = sorted(
            [*_FUNCTION.finditer(text), *_VALUE.finditer(_FUNCTION.sub(_blank, text))], key=lambda m: m.start()
        )
        self.definitions = [
            _Definition(
                place,
                frozenset(re.split(r",\s*", match[1])),
                match[0],
                _words(match[0]),
                match.start() < base_ends or _VARIABLE.fullmatch(match[0]) is not None,
            )
            for place, match in enumerate(matches)
        ]
        self._by_name = {name: definition for definition in self.definitions for name in definition.names}

    def needed(self, words: Iterable[str], visible: frozenset[str], before: int | None = None) -> list[_Definition]:
        """The definitions that these words need, directly or indirectly, in their order.

        Only definitions before the place ``before`` and not yet ``visible`` count.
        """
        found: set[_Definition] = set()
        limit = len(self.definitions) if before is None else before
        waiting = list(words)
        while waiting:
            item = self._by_name.get(waiting.pop())
            if item and item.place < limit and item not in found and not item.names <= visible:
                found.add(item)
                waiting += item.outer_words
        return sorted(found, key=lambda each: each.place)

    def text_of(
        self, items: Iterable[_Definition], visible: frozenset[str], base: frozenset[str] | None = None
    ) -> tuple[str, frozenset[str]]:
        """The text of these definitions, and the names that are visible after it. With ``base``, lazily linked ones use
        only these of the visible names."""
        parts = []
        for item in items:
            parts.append(self.expand(item.text, item.words, visible if base is None else base, item.place))
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

    def expand(self, text: str, words: frozenset[str], visible: frozenset[str], before: int | None = None) -> str:
        """Replace the mark in the text, if any, by the definitions that its ``words`` need."""
        if _MARK not in text:
            return text
        return text.replace(_MARK, self.text_of(self.needed(words, visible, before), visible)[0])


def linked(body: str, schema: int = SCHEMA) -> str:
    """A script's text, with the definitions that it uses before it.

    With a mark on a line of its own, definitions that only the part after the mark uses are created there: a call that
    returns earlier does not pay for them.
    """
    library = _library(schema)
    early, *late = ARGUMENTS.sub(_locals, body).split(f"\n{_MARK}\n")
    parts, base = [], frozenset[str]()
    if late:
        text, base = library.text_of(library.needed(_eager_words(early), base), base)
        parts += [text, _linked_lazily(library, early, base)]
    (main,) = late or [early]
    # What functions capture of the function around them costs Lua a search, unless it is that function's own capture.
    # So the base is outside, and all else in a function.
    eager = library.needed({*_eager_words(main), *library.state_of(_words(body))}, base)
    text, base = library.text_of((item for item in eager if item.is_base), base)
    parts.append(text)
    text, _ = library.text_of((item for item in eager if not item.is_base), base, base)
    main = _linked_lazily(library, main, base)
    parts += ["return (function()", text, main, "end)()"] if _CONSTANT.sub("", text) else [text, main]
    names = ", ".join(f"'{name}'" for name in FIELDS)
    text = _with_constants_inline("\n".join(parts))
    return _STORED.sub(_stored, text.replace("--[[JOB_FIELDS]]", names))


def _linked_lazily(library: _Library, part: str, base: frozenset[str]) -> str:
    """This part of a script, with the definitions that its lazily linked functions need."""
    for match in _FUNCTION.finditer(part):
        part = part.replace(match[0], library.expand(match[0], _words(match[0]), base))
    return part


def _eager_words(part: str) -> frozenset[str]:
    """The words of this part of a script that are not within its lazily linked functions."""
    return _words(_FUNCTION.sub(lambda match: "" if _MARK in match[0] else match[0], part))


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
    base, others = ("\n".join(read(f"lib/{name}") for name in names) for names in (BASE, LIBRARY[len(BASE) :]))
    text = f"{base}\n{_BASE_ENDS}\n{others}"
    values = {
        "TRANSITIONS": transitions_as_lua(),
        "SCHEMA": str(schema),
        "BLOCK_OVERHEAD": str(OVERHEAD_BYTES),
        "PACKED": str(PACKED),
        "LINE": str(LINE),
        "OPEN_LINE": str(OPEN_LINE),
        "PACKED_TAIL_BYTES": str(TAIL_BYTES),
    }
    for name, value in values.items():
        text = text.replace(f"--[[{name}]]", value)
    return _Library(text)


def _with_constants_inline(text: str) -> str:
    """The text with the values of its constants in the places of their names: to Lua, each name would be a variable
    that every function which uses it must capture."""
    values = {name: f"({value})" if " " in value else value for name, value in _CONSTANT.findall(text)}
    if not values:
        return text
    use = re.compile(rf"{_NOT_CODE.pattern}|(?:(?<![\w.:])|(?<=\.\.))({'|'.join(values)})\b")
    return use.sub(lambda found: values[found[1]] if found[1] else found[0], _CONSTANT.sub("", text))


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(_NOT_CODE.sub(" ", text)))


def _blank(match: re.Match[str]) -> str:
    """Dashes of the same length and lines, so that positions stay the same."""
    return "\n".join("-" * len(line) for line in match[0].split("\n"))


def _sources(folder: Traversable, prefix: str = "") -> dict[str, str]:
    found = dict[str, str]()
    for one in folder.iterdir():
        if one.is_dir():
            found |= _sources(one, f"{one.name}/")
        elif one.name.endswith(".lua"):
            found[prefix + one.name.removesuffix(".lua")] = one.read_text(encoding="utf-8")
    return found


# Now, because a process that may open no further file must still end its jobs.
_SOURCES = _sources(resources.files("spool.jobs") / "lua")


def read(name: str) -> str:
    """The text of ``spool/jobs/lua/{name}.lua``. Raises ``KeyError``."""
    return _SOURCES[name]


def transitions_as_lua() -> str:
    """The inside of a Lua table: ``queued={running=true,…},…``."""
    return ",".join(
        f"{source}={{{','.join(f'{target}=true' for target in sorted(targets))}}}"
        for source, targets in TRANSITIONS.items()
    )
