"""A client that submits, cancels and deletes while the webs come and go: it tries again where a client may, and what
it should never have met is a violation."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from spool.batches.line import job_id_of
from tests.loopback import NO_CERTIFICATES

_PAUSE_S = 0.2


class Caller:
    """Calls the webs in turn, with these ``headers``. May be used from many threads. ``within_s`` bounds each call with
    all its tries."""

    def __init__(
        self, urls: Sequence[str], *, within_s: float = 60.0, headers: Mapping[str, str] | None = None
    ) -> None:
        self.violations: list[str] = []
        self._urls = itertools.cycle(urls)
        self._within_s = within_s
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._client = httpx.Client(timeout=15, limits=limits, headers=headers, verify=NO_CERTIFICATES)

    def submit(self, body: Mapping[str, Any]) -> str | None:
        """The id of the job; the same key each time, so that it is one job however often it is asked for."""
        answer = self._call("POST", "/jobs", json=body, headers={"Idempotency-Key": secrets.token_hex(8)})
        return None if answer is None else str(answer.json()["id"])

    def submit_batch(self, bodies: Sequence[Mapping[str, Any]]) -> list[str] | None:
        """The ids of a batch's jobs, in order; None if it was not accepted. Tried once: a batch has no key."""
        try:
            answer = self._client.post(f"{next(self._urls)}/batches?keep_jobs=1", json=list(bodies))
        except httpx.HTTPError:
            return None
        if answer.status_code != 202:
            return None
        return [job_id_of(answer.json()["id"], index) for index in range(len(bodies))]

    def cancel(self, job: str) -> dict[str, Any] | None:
        """The job as the cancel left it."""
        answer = self._call("POST", f"/jobs/{job}/cancel")
        return None if answer is None else dict(answer.json())

    def look(self, job: str) -> dict[str, Any] | None:
        """The job."""
        answer = self._call("GET", f"/jobs/{job}")
        return None if answer is None else dict(answer.json())

    def delete(self, job: str) -> None:
        """Forget a job that has ended. That it is gone already is what a second try is told."""
        self._call("DELETE", f"/jobs/{job}", expects=(410,))

    def close(self) -> None:
        """Call no more."""
        self._client.close()

    def _call(self, method: str, path: str, expects: Sequence[int] = (), **options: Any) -> httpx.Response | None:
        deadline = time.monotonic() + self._within_s
        said = "nothing"
        while time.monotonic() < deadline:
            try:
                answer = self._client.request(method, next(self._urls) + path, **options)
            except httpx.HTTPError as exc:
                said = type(exc).__name__
            else:
                if answer.is_success or answer.status_code in expects:
                    return answer
                said = f"{answer.status_code} {answer.text[:200]}"
                if answer.status_code not in (429, 503):
                    self.violations.append(f"{method} {path}: {said}")
                    return None
                if "retry-after" not in answer.headers:
                    self.violations.append(f"{method} {path}: {answer.status_code} without Retry-After")
            time.sleep(_PAUSE_S)
        self.violations.append(f"{method} {path}: not within {self._within_s:g} s, at last {said}")
        return None
