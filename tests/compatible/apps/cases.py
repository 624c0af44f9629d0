"""Runs an application's cases at the same time, and prints one JSON object: each name with null, or what went wrong."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def report(*cases: Callable[[], None]) -> None:
    """Run them all; a case is known by its function's name."""
    with ThreadPoolExecutor(len(cases)) as pool:
        results = dict(zip((case.__name__ for case in cases), pool.map(_outcome, cases), strict=True))
    print(json.dumps(results))


def _outcome(case: Callable[[], None]) -> str | None:
    try:
        case()
    except Exception:  # noqa: BLE001 - whatever it is, it is what went wrong
        return traceback.format_exc()
    return None
