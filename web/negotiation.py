"""Content negotiation by ``Accept`` (RFC 9110 section 12.5.1) and ``Prefer`` (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flask import request
from werkzeug.http import parse_list_header

from web.contract import Parameter

_WAIT = re.compile(r"""wait\s*=\s*(?:([0-9]{1,9})|"([0-9]{1,9})")\s*(?:;.*)?""", re.IGNORECASE | re.DOTALL)
_WAIT_NAME = re.compile(r"wait\s*(?:[=;]|$)", re.IGNORECASE)
PREFER = Parameter("Prefer", str, "`wait=N`: answer with the finished job if it ends within N seconds, at most 55.")
PREFERENCE_APPLIED = Parameter("Preference-Applied", str, "`wait=N`, if the answer is the finished job.")
_ANYTHING = "*/*"
_PLAIN = "text/plain"


def best_media_type(offers: Sequence[str]) -> str | None:
    """The offer that ``Accept`` ranks highest; None if it accepts none. Without ``Accept``, the first offer. Among
    equals, a named type comes before a wildcard match, then the earlier offer wins.

    Parameters are ignored, because each type exists in one form only, in UTF-8. Some clients that accept anything
    list plain text by default (axios, jQuery). So plain text counts only where its quality is above that of ``*/*``."""
    ranges = _ranges()
    if not ranges:
        return offers[0]
    anything = max((quality for name, quality in ranges if name == _ANYTHING), default=None)
    best, best_rank = None, (0.0, 0)
    for offer in offers:
        rank = _rank(offer, ranges)
        if offer == _PLAIN and anything is not None and rank[0] <= anything:
            continue
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = offer, rank
    return best


def _ranges() -> list[tuple[str, float]]:
    """The media ranges of ``Accept`` without their parameters, and the quality of each."""
    return [(str(name).partition(";")[0].strip().lower(), float(q)) for name, q in request.accept_mimetypes]


def _rank(offer: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """The quality of the most specific range that covers the offer, and how specific that is: 3 to 1; 0 for none."""
    kind = offer.partition("/")[0]
    for specific, name in ((3, offer), (2, f"{kind}/*"), (1, _ANYTHING)):
        qualities = [quality for covered, quality in ranges if covered == name]
        if qualities:
            return max(qualities), specific
    return 0.0, 0


def preferred_wait_s() -> int | None:
    """The whole seconds of the first ``Prefer: wait``; None if it is absent or malformed."""
    for preference in parse_list_header(request.headers.get(PREFER.name, "")):
        if _WAIT_NAME.match(preference.strip()):
            match = _WAIT.fullmatch(preference.strip())
            return int(match[1] or match[2]) if match is not None else None
    return None
