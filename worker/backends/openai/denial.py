"""An upstream that does not accept Spool's key: its jobs fail without a call, but for one now and then."""

from __future__ import annotations

import logging

import openai

from spool.outage import Outage
from worker.backends import BackendError

log = logging.getLogger("spool.upstream")

_JOBS = 3
"""Different jobs in a row that get 403, which may be the prompt's, before that is the key's. One 401 is enough."""


class Denial:
    """For one upstream; one log line when it begins, and one when it ends."""

    def __init__(self, upstream: str) -> None:
        self._outage = Outage(log, f"upstream {upstream}", "Spool's key is not accepted, and its jobs fail")
        self._found: BackendError | None = None
        self._forbidden: set[str] = set()

    def check(self) -> None:
        """Raises the ``BackendError`` of the last call while there shall be no other."""
        if self._found is not None and self._outage.left_s:
            found = self._found
            raise BackendError(found.code, found.message, retryable=found.retryable)

    def note(self, exc: Exception, found: BackendError, job: str) -> None:
        """What a call of ``job`` came to."""
        status = exc.status_code if isinstance(exc, openai.APIStatusError) else 0
        if status == 403:
            self._forbidden.add(job)
        if status == 401 or len(self._forbidden) >= _JOBS:
            self._found = found
            self._outage.failed(found)

    def over(self) -> None:
        """A call was answered."""
        self._forbidden.clear()
        self._found = None
        self._outage.worked()
