"""The client for plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import httpx

from spool_client import batch_steps, calls
from spool_client.batch_steps import Progress
from spool_client.documents import AddedLines, Batch, Document, Job
from spool_client.follower import Follower
from spool_client.http import Token, options
from spool_client.ladder import TRANSPORTS, Memory
from spool_client.steps import batch_path
from spool_client.sync import Driver
from spool_client.timing import Timing
from spool_client.view import View

JobRef = str | Job
BatchRef = str | Batch


class Follow(View):
    """A job's log as an iterator of its entries and messages, each once. It ends after the terminal entry. After a
    ``break`` another loop continues after the first."""

    def __init__(
        self, driver: Driver, follower: Follower, on_change: Callable[[Follow], None] | None, timeout_s: float
    ) -> None:
        super().__init__(follower)
        self._driver = driver
        self._on_change = on_change
        self._timeout_s = timeout_s

    def __iter__(self) -> Iterator[Document]:
        return self._driver.items(self._follower.steps(), self._changed, self._timeout_s)

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change(self)


class Client:
    """One server and one credential. Close it, or use it in a ``with``."""

    def __init__(
        self,
        base_url: str | None = None,
        token: Token = None,
        *,
        transports: Sequence[str] = TRANSPORTS,
        timing: Timing | None = None,
        http_transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._timing = timing or Timing()
        self._http = httpx.Client(**options(base_url, token), transport=http_transport)
        self._driver = Driver(self._http, self._timing)
        self._transports = transports
        self._memory = Memory()
        self.batches = Batches(self._driver, self._timing)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def submit(self, submission: str | Mapping[str, Any], *, idempotency_key: str = "", **fields: Any) -> Job:
        """Submit a prompt, or the fields of ``POST /jobs``. A lost answer is requested again under the same key."""
        return self._driver.run(calls.submit(self._timing, submission, fields, idempotency_key))

    def follow(
        self,
        job: JobRef,
        *,
        after: int = 0,
        transports: Sequence[str] | None = None,
        on_change: Callable[[Follow], None] | None = None,
        timeout_s: float = math.inf,
    ) -> Follow:
        """Follow a job's log after the entry ``after``. ``on_change(follow)`` is called when the connection changes.
        The loop raises only the server's refusals (400, 401, 403, 404, 410, 422), and ``TimeoutError``."""
        names = transports or self._transports
        follower = Follower(job, self._timing, after=after, transports=names, memory=self._memory)
        return Follow(self._driver, follower, on_change, timeout_s)

    def wait(self, job: JobRef, *, timeout_s: float = math.inf) -> Job:
        """The record with its text, once the job has ended, with any outcome."""
        for _ in self.follow(job, timeout_s=timeout_s):
            pass
        return self.job(job)

    def job(self, job: JobRef) -> Job:
        """The record now, with the text so far."""
        return self._driver.run(calls.on_job(self._timing, "GET", job))

    def cancel(self, job: JobRef) -> Job:
        """Request the job's cancellation."""
        return self._driver.run(calls.on_job(self._timing, "POST", job, "/cancel"))

    def delete(self, job: JobRef) -> None:
        """Delete an ended job."""
        self._driver.run(calls.on_job(self._timing, "DELETE", job))

    def jobs(
        self, *, status: str = "", batch: str = "", model: str = "", metadata: str = "", limit: int = 0
    ) -> Iterator[Job]:
        """The caller's jobs without their text, newest first; at most ``limit`` unless it is 0. ``metadata``: a name
        or ``name=value``."""
        wanted = {"status": status, "batch": batch, "model": model, "metadata": metadata}
        return self._driver.items(calls.each_job(self._timing, wanted, limit=limit))

    def models(self) -> dict[str, Any]:
        """``GET /models``."""
        return self._driver.run(calls.document(self._timing, "/models"))

    def usage(self, *, since: str = "", until: str = "", group: str = "day,model") -> dict[str, Any]:
        """``GET /usage``: from the day ``since`` to ``until``, by some of day, model, owner and credential."""
        return self._driver.run(calls.usage(self._timing, since, until, group))

    def readiness(self) -> dict[str, Any]:
        """``GET /readyz``, also if the answer is 503. Not repeated."""
        return self._driver.run(calls.readiness(self._timing))

    def version(self) -> dict[str, Any]:
        """``GET /version``."""
        return self._driver.run(calls.document(self._timing, "/version"))

    def metrics(self) -> str:
        """``GET /metrics``, in Prometheus's text format. Not repeated."""
        return self._driver.run(calls.text_of(self._timing, "/metrics"))


class Batches:
    """``client.batches``."""

    def __init__(self, driver: Driver, timing: Timing) -> None:
        self._driver = driver
        self._timing = timing

    def submit(self, submissions: Iterable[str | Mapping[str, Any]] | bytes, *, idempotency_key: str = "") -> Batch:
        """Submit prompts, submissions, or JSON lines: all of them are accepted, or none."""
        return self._driver.run(calls.submit_batch(self._timing, submissions, idempotency_key))

    def open(self, fields: Mapping[str, Any] | None = None, *, idempotency_key: str = "") -> Batch:
        """Open a batch, to which lines are added until it is sealed. ``fields``: ``metadata``, ``webhook``,
        ``completion_window``, ``on_bad_line``, ``keep_jobs``."""
        return self._driver.run(calls.open_batch(self._timing, fields or {}, idempotency_key))

    def add(
        self,
        batch: BatchRef,
        submissions: Iterable[str | Mapping[str, Any]] | bytes,
        *,
        idempotency_key: str = "",
    ) -> AddedLines:
        """Add prompts, submissions or JSON lines to an open batch: all of them, or none. They may start immediately."""
        return self._driver.run(calls.add_lines(self._timing, batch, submissions, idempotency_key))

    def seal(self, batch: BatchRef) -> Batch:
        """Seal an open batch: it ends with its last line."""
        return self._driver.run(calls.on_batch(self._timing, "POST", batch, "/seal"))

    def get(self, batch: BatchRef) -> Batch:
        """The batch with the number of its jobs in each state."""
        return self._driver.run(calls.on_batch(self._timing, "GET", batch))

    def cancel(self, batch: BatchRef) -> Batch:
        """Request the cancellation of its jobs."""
        return self._driver.run(calls.on_batch(self._timing, "POST", batch, "/cancel"))

    def wait(self, batch: BatchRef, *, on_progress: Progress | None = None, timeout_s: float = math.inf) -> Batch:
        """The batch, once all its jobs have ended. ``on_progress(batch)`` is called when the counts change."""
        return self._driver.run(batch_steps.wait(self._timing, batch_path(batch), on_progress), timeout_s)

    def results(
        self, batch: BatchRef, *, after: int = 0, follow: bool = True, on_progress: Progress | None = None
    ) -> Iterator[Job]:
        """The ended jobs with their text, in the order of their ends, each once. ``after``: the ``cursor`` of the
        last one that the caller has. Without ``follow`` it stops at those that have ended now."""
        steps = batch_steps.results(self._timing, batch_path(batch), after, on_progress, follow=follow)
        return self._driver.items(steps)
