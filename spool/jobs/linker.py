"""The linker of Lua scripts: puts the definitions of ``lua/lib`` that a script uses before it.

Lua creates every function of a script again for each call. A script with the whole library would spend most of its time
on functions that it does not use. So a script has a table of functions, with those that usual calls need. All others
are created together, once one of them is looked up there: what only functions with ``--[[LIBRARY]]`` in their bodies
lead to, and what a script declares (``--[[SELDOM name name]]``). A function of the script itself with the mark adds
what it needs to the table when it is called. The mark between the statements of a script divides it: what only the
part after the mark uses is created when the script gets there.

A function also captures each variable of the function around it that it uses, by a search over all captured ones. So
constants are replaced by their values, functions and variables of the library are found in the table, and the values
that most of them use are defined outside of a function that contains all else, which captures them once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from spool.jobs.conversation_blocks import OVERHEAD_BYTES
from spool.jobs.job import FIELDS, LINE, OPEN_LINE, PACKED, SCHEMA, TRANSITIONS
from spool.jobs.packing import TAIL_BYTES
from spool.keys import STORED_NAMES

BASE = ("shard", "indexes", "server")
"""The files of ``lua/lib`` that most others use. Their values are variables of a script, and no fields of its table."""
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
_SELDOM = re.compile(r"^--\[\[SELDOM ([\w\s]+)\]\]$", re.MULTILINE)
_TABLE = "library"
"""The name of the table of functions in a linked script."""
_CREATE = "create_library"
"""The function that creates it, in a script of which most calls use none of its functions."""
_BASE_ENDS = "--[[BASE ENDS]]"
_FUNCTION = re.compile(r"^local function (\w+)\(.*?^end$", re.DOTALL | re.MULTILINE)
_VALUE = re.compile(r"^local (?!function)(\w+)(?: =[^\n]*)?(?:\n[ }][^\n]*)*$", re.MULTILINE)
_VARIABLE = re.compile(r"local [a-z_]+ = (?:\{\}|false)")
_STORED = re.compile(rf"((?<=')(?:{'|'.join(STORED_NAMES)})(?=')|(?<=\w\.)(?:{'|'.join(STORED_NAMES)})\b)")
_CONSTANT = re.compile(
    r"^ *local ([A-Z][A-Z_0-9]*) = ('[^'\n]*'|tonumber\('\d+'\)|[\d.e]+(?: [*/] [\d.e]+)*)$\n?", re.MULTILINE
)
ARGUMENTS = re.compile(r"--\[\[ARGUMENTS ([^\]]+)\]\]")
_CONVERSIONS = {"": "ARGV[{}]", "number": "tonumber(ARGV[{}])", "flag": "ARGV[{}] == '1'"}
_NOT_CODE = re.compile(r"""'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|--[^\n]*""")
_VARIABLES = re.compile(
    r"\blocal (?!function\b)([\w, ]+)|\bfor ([\w, ]+?) (?:in|=) |\bfunction\b[^()]*\(([^)]*)\)"
    r"|^ *local function (\w+)",
    re.MULTILINE,
)
_USE = re.compile(rf"{_NOT_CODE.pattern}|(local )?(function )?(?:(?<![\w.:])|(?<=\.\.))([A-Za-z_]\w*)\b")
_WORD = re.compile(r"(?:(?<![\w.])|(?<=\.\.))[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class _Definition:
    """A function or a value of the library, and its place there."""

    place: int
    name: str
    text: str
    words: frozenset[str]
    """The names that occur in it."""
    is_local: bool
    """Whether it is a constant, or a value that most functions use; all others are fields of the table."""

    @property
    def is_variable(self) -> bool:
        """Whether it is state of a call, of which a script has one."""
        return _VARIABLE.fullmatch(self.text) is not None

    @property
    def eager_words(self) -> frozenset[str]:
        """The names that it needs when it is created: none for a lazily linked body."""
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
                match[1],
                match[0],
                _words(match[0]),
                not _FUNCTION.fullmatch(match[0])
                and (match.start() < base_ends or _CONSTANT.fullmatch(match[0]) is not None),
            )
            for place, match in enumerate(matches)
        ]
        self._by_name = {definition.name: definition for definition in self.definitions}
        self.variables = _names(item for item in self.definitions if item.is_variable)

    def needed(
        self,
        words: Iterable[str],
        there: Iterable[_Definition],
        leads_to: Callable[[_Definition], frozenset[str] | None],
    ) -> list[_Definition]:
        """The definitions that these words need, directly or indirectly, in their order, without what is ``there``.
        ``leads_to`` answers the words of a definition that count, or None if it is left out."""
        found: set[_Definition] = set()
        waiting = [(word, len(self.definitions)) for word in words]
        while waiting:
            word, before = waiting.pop()
            item = self._by_name.get(word)
            # A definition uses only earlier ones.
            if not item or item.place >= before or item in found or item in there:
                continue
            more = leads_to(item)
            if more is not None:
                found.add(item)
                waiting += [(each, item.place) for each in more]
        return sorted(found, key=lambda each: each.place)


def linked(body: str, schema: int = SCHEMA) -> str:
    """A script's text, with the definitions that it uses before it."""
    library = _library(schema)
    seldom = frozenset(name for names in _SELDOM.findall(body) for name in names.split())
    body = ARGUMENTS.sub(_locals, _SELDOM.sub("", body))
    early, *late = body.split(f"\n{_MARK}\n")
    (main,) = late or [early]

    def in_usual_calls(item: _Definition) -> frozenset[str] | None:
        return None if item.name in seldom else item.eager_words

    every = library.needed(_words(body), (), lambda item: item.words)
    # The part before the mark cannot look up rare functions, so it has all that its own ones lead to.
    before = library.needed(_words(early), (), lambda item: item.words) if late else []
    usual = library.needed(_eager_words(main), before, in_usual_calls)
    usual += [item for item in every if item.is_variable and item not in [*before, *usual]]
    table = _Table(before, usual, [item for item in every if item not in [*before, *usual]])
    fields = table.fields - _variables(body)
    # A call that uses nothing of the table must not pay for it.
    is_late = not _eager_words(main) & fields
    added = {
        function[1]: (f"if not {_TABLE} then {_CREATE}() end\n" if is_late else "")
        + table.extended_by(library.needed(_words(function[0]), [*before, *usual], in_usual_calls))
        for function in _FUNCTION.finditer(main)
        if _MARK in function[0]
    }
    main = _FUNCTION.sub(
        lambda function: function[0].replace(_MARK, added.get(function[1], "")), _with_fields(main, fields)
    )
    parts = [*_values(before), *table.early, _with_fields(early, fields)] if late else []
    parts += [item for item in _values(every) if item not in parts]
    if not fields:
        parts += [main]
    elif is_late:
        parts = [f"local {_TABLE}", *parts, f"local function {_CREATE}()", table.text, "end", main]
    else:
        # What a function captures of the function around it costs Lua a search, unless that has captured it itself.
        parts = [f"local {_TABLE}", *parts, "return (function()", table.text, main, "end)()"]
    names = ", ".join(f"'{name}'" for name in FIELDS)
    text = _with_constants_inline("\n".join(parts))
    return _STORED.sub(_stored, text.replace("--[[JOB_FIELDS]]", names))


class _Table:
    """The table of a script's functions: those of ``usual`` calls, and all ``rare`` ones once one of them is looked up.
    ``before``: those that the part before the mark creates."""

    def __init__(self, *groups: Iterable[_Definition]) -> None:
        self._before, self._usual, self._rare = ([item for item in group if not item.is_local] for group in groups)
        self.fields = _names([*self._before, *self._usual, *self._rare])

    @property
    def early(self) -> list[str]:
        """The text that creates it for the part before the mark."""
        return [f"{_TABLE} = {self._constructor(self._before)}"] if self._before else []

    @property
    def text(self) -> str:
        """The text that creates it."""
        rare = "\n".join(_with_fields(item.text, self.fields) for item in self._rare)
        lookup = f"{{__index = function(_, name)\n{rare}\nreturn rawget({_TABLE}, name)\nend}}"
        usual = self._constructor(self._usual, self._before)
        return f"{_TABLE} = setmetatable({usual}, {lookup})" if rare else f"{_TABLE} = {usual}"

    def extended_by(self, group: Iterable[_Definition]) -> str:
        """The text that adds this group of functions, once."""
        added = [item for item in group if not item.is_local]
        if not added:
            return ""
        table = self._constructor(added, [*self._before, *self._usual])
        has_them = f"rawget({_TABLE}, '{added[0].name}')"
        return f"if not {has_them} then {_TABLE} = setmetatable({table}, getmetatable({_TABLE})) end"

    def _constructor(self, items: Iterable[_Definition], others: Iterable[_Definition] = ()) -> str:
        """A new table, with all fields at once: Lua counts them again each time that a table grows."""
        kept = [f"{item.name} = {_TABLE}.{item.name}," for item in others]
        return "\n".join(["{", *kept, *(_entry(_with_fields(item.text, self.fields)) for item in items), "}"])


def _entry(definition: str) -> str:
    """The definition of a field of the table, within the table's constructor."""
    is_function = definition.startswith("function ")
    name, _, value = definition.partition(f"{_TABLE}.")[2].partition("(" if is_function else " = ")
    return f"{name} = function({value}\n," if is_function else f"{name} = {value}\n,"


def _values(items: Iterable[_Definition]) -> list[str]:
    return [item.text for item in items if item.is_local]


def _with_fields(text: str, fields: frozenset[str]) -> str:
    """The text with these names as fields of the table of functions."""

    def as_field(found: re.Match[str]) -> str:
        is_key = not found[1] and text.startswith(" = ", found.end()) and found[3] not in _library(SCHEMA).variables
        return f"{found[2] or ''}{_TABLE}.{found[3]}" if found[3] in fields and not is_key else found[0]

    return _USE.sub(as_field, text)


def _variables(text: str) -> frozenset[str]:
    """The names of parameters and variables, and of functions."""
    found = _VARIABLES.findall(_NOT_CODE.sub(" ", text))
    return frozenset(_WORD.findall(" ".join(" ".join(names) for names in found)))


def _eager_words(part: str) -> frozenset[str]:
    """The words of this part of a script that are not within its lazily linked functions."""
    return _words(_FUNCTION.sub(lambda match: "" if _MARK in match[0] else match[0], part))


def _names(items: Iterable[_Definition]) -> frozenset[str]:
    return frozenset(item.name for item in items)


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
    return _names(_library(SCHEMA).definitions)


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
