"""Durations as clients write them: ``24h``, ``90m``, ``10s``, ``7d``."""

from __future__ import annotations

import re

_FORM = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds_of(text: str) -> int | None:
    """The seconds of a duration; None for any other text."""
    found = _FORM.fullmatch(text)
    return int(found[1]) * _SECONDS[found[2]] if found else None
