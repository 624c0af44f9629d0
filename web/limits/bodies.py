"""The size limit of a request's body."""

from __future__ import annotations

_JOB_BODY_FACTOR = 4
"""The body limit of a request for one job, as a multiple of the prompt limit: escapes make text up to three times as
long, and some client data is not stored."""
_JOB_BODY_BESIDE = 65_536
"""Bytes added to it, for names and metadata."""


def job_bytes(max_body_bytes: int, max_prompt_bytes: int) -> int:
    """The most bytes of one job's JSON text."""
    return min(max_body_bytes, _JOB_BODY_FACTOR * max_prompt_bytes + _JOB_BODY_BESIDE)
