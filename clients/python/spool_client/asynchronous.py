"""Does the steps of a call with ``httpx.AsyncClient``: ``sync.py`` with ``await``."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx

from spool_client.errors import SpoolError, Unreachable
from spool_client.http import built, head, unreachable
from spool_client.steps import Answer, Changed, Close, Emit, Exchange, Open, Pause, Read, Request, Step, Steps
from spool_client.timing import Timing

T = TypeVar("T")


@dataclass(slots=True)
class Result(Generic[T]):
    """What a call returned. An asynchronous generator cannot return it."""

    value: T


class AsyncDriver:
    """Runs steps; each run has at most one open stream."""

    def __init__(self, http: httpx.AsyncClient, timing: Timing) -> None:
        self._http = http
        self._timing = timing

    async def run(self, steps: Steps[T], within_s: float = math.inf) -> T:
        """The result of a call that emits nothing."""
        async for item in self._items(steps, None, within_s):
            if isinstance(item, Result):
                return item.value  # type: ignore[no-any-return]
        raise AssertionError("a call ended without a result")

    async def items(
        self, steps: Steps[None], on_changed: Callable[[], None] | None = None, within_s: float = math.inf
    ) -> AsyncIterator[Any]:
        """What the steps emit. Raises ``SpoolError``, and ``TimeoutError`` after ``within_s``."""
        async for item in self._items(steps, on_changed, within_s):
            if not isinstance(item, Result):
                yield item

    async def _items(
        self, steps: Steps[Any], on_changed: Callable[[], None] | None, within_s: float
    ) -> AsyncIterator[Any]:
        run = _Run(self._http, self._timing, time.monotonic() + within_s)
        result: Any = None
        error: SpoolError | None = None
        try:
            while True:
                run.check()
                try:
                    step = steps.send(result) if error is None else steps.throw(error)
                except StopIteration as stop:
                    yield Result(stop.value)
                    return
                result = error = None
                if isinstance(step, Emit):
                    yield step.item
                elif isinstance(step, Changed):
                    if on_changed is not None:
                        on_changed()
                else:
                    try:
                        result = await run.do(step)
                    except SpoolError as exc:
                        error = exc
        finally:
            steps.close()
            await run.close()


class _Run:
    def __init__(self, http: httpx.AsyncClient, timing: Timing, until: float) -> None:
        self._http = http
        self._timing = timing
        self._until = until
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._request = ""

    @property
    def _left_s(self) -> float:
        return max(0.05, self._until - time.monotonic())

    def check(self) -> None:
        if time.monotonic() >= self._until:
            raise TimeoutError("the time for this call is over; the job continues")

    async def do(self, step: Step) -> Any:
        try:
            if isinstance(step, Read):
                return b"" if self._chunks is None else await anext(self._chunks, b"")
            if isinstance(step, Exchange):
                return await self._exchange(step)
            if isinstance(step, Open):
                await self.close()
                self._response = await self._send(step.request)
                self._chunks = self._response.aiter_bytes()
                return head(self._response)
        except (httpx.HTTPError, httpx.StreamError) as exc:
            await self.close()
            raise unreachable(exc, self._request) from exc
        if isinstance(step, Pause):
            await asyncio.sleep(min(step.seconds, self._left_s))
        elif isinstance(step, Close):
            await self.close()
        return None

    async def _send(self, request: Request) -> httpx.Response:
        self._request = str(request)
        return await self._http.send(built(self._http, request, self._timing, self._left_s), stream=True)

    async def _exchange(self, step: Exchange) -> Answer:
        until = time.monotonic() + min(step.whole_s, self._left_s)
        response = await self._send(step.request)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if time.monotonic() > until:
                    raise Unreachable(f"no whole answer within {step.whole_s:g} s", request=self._request)
            return head(response, bytes(body))
        finally:
            await response.aclose()

    async def close(self) -> None:
        response, self._response = self._response, None
        self._chunks = None
        if response is not None:
            await response.aclose()
