"""One Lua script in the form that Redis loads.

A script may name the run of the server on which it runs: ``--[[RUN_ID]]`` in its text. Each run then has a script of
its own, with its run id in the text. A server forgets all scripts when it stops, so a script never runs on another run,
and need not ask for the run id in each call.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

_RUN_ID = "--[[RUN_ID]]"


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script; ``sha`` is the SHA-1 digest for EVALSHA."""

    name: str
    text: str
    sha: str

    @classmethod
    def of(cls, name: str, text: str) -> Self:
        """The script with this text."""
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    def on_run(self, run_id: str) -> Script:
        """The script for this run of the server. It must be loaded over the connection that reported the run id: a
        connection does not outlive its run."""
        return Script.of(self.name, self.text.replace(_RUN_ID, run_id)) if _RUN_ID in self.text else self
