"""A log line for each request that changes something, begins a stream or is refused; of many a second, for some.

Reads that succeed have none: clients poll with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Flask, Response, g, request

from spool.metrics import labelled
from web.access.authenticator import Authenticator
from web.metrics import ANSWER_TIME, REQUESTS
from web.request_ids import age_s, say
from web.server.hijack import StreamResponse, UpgradeResponse

_ALL_UP_TO = 50
_THEN_ONE_IN = 50
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_METHOD_CHARACTERS = 16


class Sampling:
    """Chooses lines: the first 50 of each second, then one in 50. ``clock`` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = -1
        self._count = 0

    def take(self) -> int:
        """Count a request. Returns for how many requests a line stands; 0: there is no line."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        if self._count <= _ALL_UP_TO:
            return 1
        return _THEN_ONE_IN if self._count % _THEN_ONE_IN == 0 else 0


def install(app: Flask, authenticator: Authenticator) -> None:
    """Write the lines of this application's requests."""
    sampling = Sampling()

    def note(response: Response) -> Response:
        is_stream = isinstance(response, StreamResponse)
        surface = request.blueprint or "other"
        labelled(REQUESTS, surface, str(response.status_code)).inc()
        labelled(ANSWER_TIME, surface).observe(age_s())
        if request.method in _READS and response.status_code < 400 and not is_stream:
            return response
        stands_for = sampling.take()
        if stands_for:
            say(
                "request",
                method=request.method[:_METHOD_CHARACTERS],
                route=request.url_rule.rule if request.url_rule else None,
                status=101 if isinstance(response, UpgradeResponse) else response.status_code,
                ms=round(age_s() * 1000, 1),
                owner=getattr(g.get("caller"), "owner", None),
                credential=getattr(g.get("caller"), "credential", None) or None,
                kind=getattr(g.get("caller"), "kind", None),
                address=authenticator.address() or None,
                job=(request.view_args or {}).get("job_id"),
                stream=is_stream or None,
                stands_for=stands_for if stands_for > 1 else None,
            )
        return response

    app.after_request(note)
