"""The Lua scripts of ``spool/scripts``, each with the prelude before it and the transition table within.

A script may say ``--[[PRELUDE]]`` where it wants the prelude: inside a function that it seldom calls, because Lua makes
all of the prelude's functions anew at each run, which costs more than a short script itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from spool.jobs import TRANSITIONS


@dataclass(frozen=True, slots=True)
class Script:
    """One script as Redis gets it. ``sha`` is the SHA-1 that EVALSHA wants."""

    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """The script ``spool/scripts/{name}.lua``, read once."""
    folder = resources.files("spool") / "scripts"
    shebang, _, body = (folder / f"{name}.lua").read_text(encoding="utf-8").partition("\n")
    prelude = (folder / "prelude.lua").read_text(encoding="utf-8")
    prelude = prelude.replace("--[[TRANSITIONS]]", transitions_as_lua())
    if "--[[PRELUDE]]" in body:
        text = "\n".join([shebang, body.replace("--[[PRELUDE]]", prelude)])
    else:
        text = "\n".join([shebang, prelude, body])
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def transitions_as_lua() -> str:
    """The inside of a Lua table: ``queued={running=true,…},…``."""
    return ",".join(
        f"{source}={{{','.join(f'{target}=true' for target in sorted(targets))}}}"
        for source, targets in TRANSITIONS.items()
    )
