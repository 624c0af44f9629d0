"""What every error of the native API looks like, checked in one place."""

from __future__ import annotations

from typing import Any

import httpx

from spool.keys import prefix
from spool.redis.link import RedisLink


def assert_problem(response: httpx.Response, status: int, field: str | None = None) -> dict[str, Any]:
    """The problem document of this answer, which is one of ``status`` and, if given, names ``field``."""
    assert response.status_code == status, f"{response.status_code}: {response.text[:500]}"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    for member in ("type", "title", "detail"):
        assert isinstance(document[member], str), member
        assert document[member], member
    if status in (429, 503):
        assert int(response.headers["Retry-After"]) >= 1
    if field is not None:
        fields = [error["field"] for error in document["errors"]]
        assert field in fields, document["errors"]
        assert fields[0] in document["detail"]
    return document


def stored(link: RedisLink) -> dict[bytes, bytes]:
    """Everything in Redis that jobs consist of: all but what comes and goes by the clock."""
    passing = (
        "keeper",
        "feeder",
        "feeding",
        "workers",
        "slots",
        "capacity",
        "claim:",
        "instances",
        "limits",
        "memory",
        "server",
        "probe",
        "models",
        "shards",
        "door:",
        "told",
        "instances",
        "key:",
        "signing-keys",
        "sealing-key",
    )
    skip = tuple((prefix(0) + name).encode() for name in passing)
    keys = [key for key in sorted(link.call("KEYS", f"{prefix(0)}*")) if not key.startswith(skip)]
    return dict(zip(keys, link.pipeline([("DUMP", key) for key in keys]), strict=True))
