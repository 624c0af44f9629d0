"""The Lua scripts of ``spool/scripts``, each with the prelude before it, which has the transition table and the schema.

A script may say ``--[[PRELUDE]]`` where it wants the prelude: inside a function that it seldom calls, because Lua makes
all of the prelude's functions anew at each run, which costs more than a short script itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from spool.jobs import SCHEMA, TRANSITIONS


@dataclass(frozen=True, slots=True)
class Script:
    """One script as Redis gets it. ``sha`` is the SHA-1 that EVALSHA wants."""

    name: str
    text: str
    sha: str


PRELUDE = ("indexes", "ledger", "queue", "staging", "prelude", "records")
"""The files that make up the prelude, in order. The rest of the folder are scripts."""


@cache
def script(name: str, schema: int = SCHEMA) -> Script:
    """The script ``spool/scripts/{name}.lua``, read once. ``schema`` is the newest version of the record it reads."""
    shebang, _, body = _read(name).partition("\n")
    if "--[[PRELUDE]]" in body:
        text = "\n".join([shebang, body.replace("--[[PRELUDE]]", prelude(schema))])
    else:
        text = "\n".join([shebang, prelude(schema), body])
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def prelude(schema: int = SCHEMA) -> str:
    """What stands before each script."""
    text = "\n".join(map(_read, PRELUDE))
    return text.replace("--[[TRANSITIONS]]", transitions_as_lua()).replace("--[[SCHEMA]]", str(schema))


def _read(name: str) -> str:
    return (resources.files("spool") / "scripts" / f"{name}.lua").read_text(encoding="utf-8")


def transitions_as_lua() -> str:
    """The inside of a Lua table: ``queued={running=true,…},…``."""
    return ",".join(
        f"{source}={{{','.join(f'{target}=true' for target in sorted(targets))}}}"
        for source, targets in TRANSITIONS.items()
    )
