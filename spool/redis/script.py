"""One Lua script in the form that Redis loads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self


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
