"""Offsets and cursors. An offset is the id of the last entry before it, padded, because clients compare offsets as
texts. A cursor only makes the URLs of repeated polls differ.
"""

from __future__ import annotations

import random
import re

from web.problems import field_problem

_OFFSET = re.compile(r"[0-9]{18}")
_START, NOW = "-1", "now"
_CURSOR = re.compile(r"[0-9]{1,15}")
_EPOCH_S = 1_728_432_000
"""2024-10-09, from which the protocol counts the intervals of cursors (section 10.1)."""
_INTERVAL_S = 20
_JITTER = 180


def offset_of(entry_id: int) -> str:
    """The offset after this entry; 0 for the start."""
    return f"{entry_id:018d}"


def entry_before(offset: str | None, last: int) -> int:
    """The id of the last entry before an offset; None is the start. ``last`` is the log's. Raises a 400 ``Problem``."""
    if offset == NOW:
        return last
    if offset is None or offset == _START:
        return 0
    if not _OFFSET.fullmatch(offset):
        raise field_problem("offset", "must be -1, now, or an offset of this stream", status=400)
    return int(offset)


def next_cursor(known: str, now_s: float) -> str:
    """The cursor of a live answer: the number of the interval, or a larger one than the client's. ``now_s`` is the
    time since the epoch."""
    interval = int((now_s - _EPOCH_S) // _INTERVAL_S)
    if _CURSOR.fullmatch(known) and int(known) >= interval:
        return str(int(known) + random.randint(1, _JITTER))
    return str(interval)
