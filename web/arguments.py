"""Query arguments that several routes share: whole numbers and cursors."""

from __future__ import annotations

import re

from flask import request

from web.problems import field_problem

_CURSOR = re.compile(r"[0-9]{1,18}")


def cursor_of(value: str | None, name: str) -> int:
    """A client's cursor: a number ≥ 0; None or empty means 0. Raises a 400 ``Problem``."""
    if not value:
        return 0
    if not _CURSOR.fullmatch(value):
        raise field_problem(name, "must be an entry's id, or 0", status=400)
    return int(value)


def requested_cursor() -> int:
    """The request's cursor. A non-empty ``Last-Event-ID`` overrides ``after``."""
    last_event_id = request.headers.get("Last-Event-ID", "").strip()
    if last_event_id:
        return cursor_of(last_event_id, "Last-Event-ID")
    return cursor_of(request.args.get("after"), "after")


def int_arg(name: str, *, default: int, low: int, high: int) -> int:
    """A whole number from the query. Raises a 422 ``Problem``."""
    value = request.args.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", value) or not low <= int(value) <= high:
        raise field_problem(name, f"must be a whole number from {low} to {high}")
    return int(value)
