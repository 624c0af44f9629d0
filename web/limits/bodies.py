"""How large a request's body may be."""

from __future__ import annotations

_JOB_BODY_FACTOR = 4
"""How many times the prompt's limit the body of a request for one job may have: escapes make text up to three times as
long, and some of what a client sends is not kept."""
_JOB_BODY_BESIDE = 65_536
"""And so many bytes beside, for names and metadata."""


def job_bytes(max_body_bytes: int, max_prompt_bytes: int) -> int:
    """How large the JSON text of one job may be."""
    return min(max_body_bytes, _JOB_BODY_FACTOR * max_prompt_bytes + _JOB_BODY_BESIDE)
