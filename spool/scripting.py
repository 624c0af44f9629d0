"""The Lua scripts of ``spool/scripts``, each with the prelude before it and the transition table within."""

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
    text = "\n".join([shebang, prelude.replace("--[[TRANSITIONS]]", transitions_as_lua()), body])
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def transitions_as_lua() -> str:
    """The inside of a Lua table: ``queued={running=true,…},…``."""
    return ",".join(
        f"{source}={{{','.join(f'{target}=true' for target in sorted(targets))}}}"
        for source, targets in TRANSITIONS.items()
    )
