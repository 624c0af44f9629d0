"""The limits of one key, beside those of its owner."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import orjson

_MOST = 10**12


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Limits of one key; 0: none."""

    requests_per_minute: int = 0
    streams: int = 0
    """Streams open at a time in one web process."""
    tokens_per_day: int = 0
    tokens_per_month: int = 0

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """The limits from a document. Raises ``ValueError`` for an unknown name, and for a value that is no whole
        number from 0 to 10^12."""
        names = [field.name for field in fields(cls)]
        for name, value in values.items():
            if name not in names:
                raise ValueError(f"no limit {name!r}; there are {', '.join(names)}")
            if type(value) is not int or not 0 <= value <= _MOST:
                raise ValueError(f"{name} must be a whole number from 0 to {_MOST}")
        return cls(**values)

    def encode(self) -> bytes:
        """The limits that are set, as JSON."""
        return orjson.dumps(self.document())

    def document(self) -> dict[str, int]:
        """The limits that are set, by name."""
        return {name: value for name, value in asdict(self).items() if value}


NO_KEY_LIMITS = KeyLimits()
