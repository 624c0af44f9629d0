"""Loaded by schemathesis in ``.venv-fuzz``: how it sends lines of JSON, which it has no serializer for."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/jsonl", "application/x-jsonlines")  # type: ignore[untyped-decorator, unused-ignore]
def lines(ctx: Any, value: Any) -> bytes:  # noqa: ARG001 - schemathesis passes it
    """The text as it stands."""
    return value if isinstance(value, bytes) else str(value).encode()
