"""Does the steps of a call with ``httpx.Client``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import httpx

from spool_client.errors import SpoolError, Unreachable
from spool_client.http import built, head, unreachable
from spool_client.steps import Answer, Changed, Close, Emit, Exchange, Open, Pause, Read, Request, Step, Steps
from spool_client.timing import Timing

T = TypeVar("T")


class Driver:
    """Runs steps; each run has at most one open stream."""

    def __init__(self, http: httpx.Client, timing: Timing) -> None:
        self._http = http
        self._timing = timing

    def run(self, steps: Steps[T], within_s: float = math.inf) -> T:
        """The result of a call that emits nothing."""
        items = self.items(steps, within_s=within_s)
        while True:
            try:
                next(items)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]

    def items(
        self, steps: Steps[T], on_changed: Callable[[], None] | None = None, within_s: float = math.inf
    ) -> Generator[Any, None, T]:
        """What the steps emit. Raises ``SpoolError``, and ``TimeoutError`` after ``within_s``."""
        run = _Run(self._http, self._timing, time.monotonic() + within_s)
        result: Any = None
        error: SpoolError | None = None
        try:
            while True:
                run.check()
                try:
                    step = steps.send(result) if error is None else steps.throw(error)
                except StopIteration as stop:
                    return stop.value  # type: ignore[no-any-return]
                result = error = None
                if isinstance(step, Emit):
                    yield step.item
                elif isinstance(step, Changed):
                    if on_changed is not None:
                        on_changed()
                else:
                    try:
                        result = run.do(step)
                    except SpoolError as exc:
                        error = exc
        finally:
            steps.close()
            run.close()


class _Run:
    def __init__(self, http: httpx.Client, timing: Timing, until: float) -> None:
        self._http = http
        self._timing = timing
        self._until = until
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._request = ""

    @property
    def _left_s(self) -> float:
        return max(0.05, self._until - time.monotonic())

    def check(self) -> None:
        if time.monotonic() >= self._until:
            raise TimeoutError("the time for this call is over; the job continues")

    def do(self, step: Step) -> Any:
        try:
            if isinstance(step, Read):
                return next(self._chunks, b"")
            if isinstance(step, Exchange):
                return self._exchange(step)
            if isinstance(step, Open):
                self.close()
                self._response = self._send(step.request)
                self._chunks = self._response.iter_bytes()
                return head(self._response)
        except (httpx.HTTPError, httpx.StreamError) as exc:
            self.close()
            raise unreachable(exc, self._request) from exc
        if isinstance(step, Pause):
            time.sleep(min(step.seconds, self._left_s))
        elif isinstance(step, Close):
            self.close()
        return None

    def _send(self, request: Request) -> httpx.Response:
        self._request = str(request)
        return self._http.send(built(self._http, request, self._timing, self._left_s), stream=True)

    def _exchange(self, step: Exchange) -> Answer:
        until = time.monotonic() + min(step.whole_s, self._left_s)
        response = self._send(step.request)
        try:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if time.monotonic() > until:
                    raise Unreachable(f"no whole answer within {step.whole_s:g} s", request=self._request)
            return head(response, bytes(body))
        finally:
            response.close()

    def close(self) -> None:
        response, self._response = self._response, None
        self._chunks = iter(())
        if response is not None:
            response.close()
