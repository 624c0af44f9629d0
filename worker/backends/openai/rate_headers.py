"""The upstream's own count of what is left: ``x-ratelimit-remaining-requests``, ``-tokens``, and when they are renewed.

OpenAI sends ``x-ratelimit-reset-*`` as a duration (``6m0s``, ``120ms``), others as seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_WHAT = ("requests", "tokens")
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS_S = (3600.0, 60.0, 1.0, 0.001)


def exhausted(headers: Mapping[str, str]) -> tuple[str, float] | None:
    """What the upstream has nothing left of, and in how many seconds it is renewed; None if it has some left, or says
    nothing."""
    found = [(what, reset_s) for what in _WHAT if (reset_s := _reset_s(headers, what)) is not None]
    return max(found, key=lambda item: item[1], default=None)


def _reset_s(headers: Mapping[str, str], what: str) -> float | None:
    if headers.get(f"x-ratelimit-remaining-{what}") != "0":
        return None
    return duration_s(headers.get(f"x-ratelimit-reset-{what}", ""))


def duration_s(text: str) -> float | None:
    """The seconds of ``1h2m3.5s4ms`` or of a plain number; None for anything else."""
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    return sum(float(part) * unit_s for part, unit_s in zip(match.groups(), _UNITS_S, strict=True) if part)
