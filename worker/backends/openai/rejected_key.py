"""Denial: an upstream that rejects Spool's API key; its jobs fail without a call, except for an occasional retry."""

from __future__ import annotations

import logging

import openai

from spool.outage import Outage
from worker.backends import BackendError

log = logging.getLogger("spool.upstream")

_JOBS = 3
"""Number of different jobs with a 403 in a row, since one prompt may cause a 403, before the key counts as rejected.
One 401 is enough."""


class Denial:
    """The denial of one upstream; logs one line when it begins and one when it ends."""

    def __init__(self, upstream: str) -> None:
        self._outage = Outage(log, f"upstream {upstream}", "it rejects Spool's API key, and its jobs fail")
        self._found: BackendError | None = None
        self._forbidden: set[str] = set()

    def check(self) -> None:
        """Raise the ``BackendError`` of the last call, until the next call is due."""
        if self._found is not None and self._outage.left_s:
            found = self._found
            raise BackendError(found.code, found.message, retryable=found.retryable, upstream=found.upstream)

    def note(self, exc: Exception, found: BackendError, job: str) -> None:
        """Record the failure of a call of ``job``."""
        status = exc.status_code if isinstance(exc, openai.APIStatusError) else 0
        if status == 403:
            self._forbidden.add(job)
        if status == 401 or len(self._forbidden) >= _JOBS:
            self._found = found
            self._outage.failed(found)

    def over(self) -> None:
        """Record that a call was answered."""
        self._forbidden.clear()
        self._found = None
        self._outage.worked()
