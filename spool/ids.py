"""Ids of jobs and batches. An id contains the number of its shard and cannot be guessed (100 bits)."""

from __future__ import annotations

import re
import secrets

SHARDS_AT_MOST = 100
_ID = re.compile(r"[jb]([0-9]{1,4})-[0-9a-z]{16,40}")


def new_job_id(shard: int) -> str:
    """A new job id."""
    return f"j{shard}-{secrets.token_hex(13)}"


def new_batch_id(shard: int) -> str:
    """A new batch id."""
    return f"b{shard}-{secrets.token_hex(13)}"


def shard_of(identifier: str) -> int:
    """The number of the shard in a job or batch id. Raises ``ValueError`` for anything else."""
    match = _ID.fullmatch(identifier)
    if match is None:
        raise ValueError(f"{identifier!r} is not the id of a job or a batch")
    return int(match[1])
