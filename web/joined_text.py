"""Joined text: a long log is read again with one entry for each stretch of text."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from spool.jobs.entries import Kind, is_mark

_TEXTS = frozenset({Kind.TOKEN, Kind.REASONING})


def joined(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The decoded entries, with adjacent texts of one kind as one entry, which has the id of the first."""
    found: list[dict[str, Any]] = []
    for (kind, marks), group in groupby(entries, key=lambda entry: (entry["kind"], is_mark(entry))):
        if kind in _TEXTS and not marks:
            texts = list(group)
            found.append({**texts[0], "text": "".join([entry["text"] for entry in texts])})
        else:
            found.extend(group)
    return found
