"""What every error of the native API looks like, checked in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import httpx

from spool.keys import prefix
from spool.redis.link import RedisLink
from spool.redis.pool import Command
from tests.contents import Content, contents


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


def stored(link: RedisLink) -> dict[bytes, Content]:
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
        "batch-webs",
        "unconfirmed-webs",
        "open-feeder:lock",
    )
    skip = tuple((prefix(0) + name).encode() for name in passing)
    keys = [key for key in sorted(link.call("KEYS", f"{prefix(0)}*")) if not key.startswith(skip)]
    ended_lines = _ended_lines(link, keys)
    keys = [key for key in keys if not key.startswith(tuple(_job_key(job) for job in ended_lines))]
    there = {key.removeprefix(_job_key(b"")) for key in keys}
    found = contents(link, keys)
    for name, members in _INDEXES.items():
        whole = (prefix(0) + name).encode()
        for key in [key for key in keys if key == whole or (name.endswith(":") and key.startswith(whole))]:
            rest = {one: one.rpartition(b" ")[2] for one in link.call(*members(key))}
            # A job whose record has expired stays in the indexes until the keeper's next round.
            found[key] = sorted(one for one, name in rest.items() if not name.startswith(b"j") or name in there)
    return {key: content for key, content in found.items() if content}


_INDEXES: dict[str, Callable[[bytes], Command]] = {
    "ledger": lambda key: ("HKEYS", key),
    "owner:": lambda key: ("ZRANGE", key, 0, -1),
    "kept": lambda key: ("ZRANGE", key, 0, -1),
}
"""Keys with members of many jobs, and the command that lists these."""
_SHORT_MS = 600_000


def _job_key(job: bytes) -> bytes:
    return f"{prefix(0)}job:".encode() + job


def _ended_lines(link: RedisLink, keys: Sequence[bytes]) -> set[bytes]:
    """The ended lines of batches among these keys, which disappear a minute later, whatever a request does."""
    marks = [key for key in keys if key.startswith(_job_key(b"")) and key.endswith(b":gone")]
    times = link.pipeline([("PTTL", key) for key in marks])
    return {
        key.removeprefix(_job_key(b"")).removesuffix(b":gone")
        for key, left_ms in zip(marks, times, strict=True)
        if left_ms < _SHORT_MS
    }
