"""The Lua scripts of ``spool/jobs/lua``, each linked with what it uses (``spool.jobs.linker``).

A script declares its arguments once, by name: ``--[[ARGUMENTS id limit:number is_last:flag jobs...]]`` becomes one
local each, and ``jobs_at``, the place in ``ARGV`` at which the list of the remaining arguments begins. Python passes
them by name, too (``arguments``).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from spool.jobs.job import SCHEMA
from spool.jobs.linker import ARGUMENTS, linked, read
from spool.redis.script import Script


@cache
def script(name: str, schema: int = SCHEMA) -> Script:
    """The script ``spool/jobs/lua/{name}.lua``, read once. ``schema`` is the newest record version that it reads."""
    shebang, _, body = read(name).partition("\n")
    text = f"{shebang}\n{linked(body, schema)}"
    return Script.of(name, text)


def arguments(name: str, rest: Iterable[object] = (), /, **values: object) -> list[object]:
    """A script's arguments in its order, by the names that it declares. ``rest`` is its list, if it has one. Raises
    ``TypeError`` for a missing or unknown name."""
    names = _declared(name)
    if values.keys() != set(names):
        raise TypeError(f"{name}.lua declares {', '.join(names)}; got {', '.join(values)}")
    return [*(values[each] for each in names), *rest]


@cache
def _declared(name: str) -> tuple[str, ...]:
    declared = ARGUMENTS.search(read(name))
    words = declared[1].split() if declared else []
    return tuple(word.partition(":")[0] for word in words if not word.endswith("..."))
