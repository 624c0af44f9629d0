"""The one boundary to httpx: requests out, answers and errors in."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

import httpx

from spool_client.errors import Unreachable
from spool_client.steps import Answer, Request
from spool_client.timing import Timing

DEFAULT_URL = "http://127.0.0.1:8000"

Token = str | Callable[[bool], str] | Callable[[bool], Awaitable[str]] | None
"""A credential, or a function of it. The function is called before each request with False, and after a 401 with True,
which asks for a new one. Only the asynchronous client awaits."""


class Bearer(httpx.Auth):
    """Sends the credential as ``Authorization: Bearer``, and after a 401 once more with a new one."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        response = yield _with(request, self._plain(False))
        if response.status_code == 401 and callable(self._token):
            response.read()
            yield _with(request, self._plain(True))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        response = yield _with(request, await self._awaited(False))
        if response.status_code == 401 and callable(self._token):
            await response.aread()
            yield _with(request, await self._awaited(True))

    def _plain(self, is_refused: bool) -> Any:
        return self._token(is_refused) if callable(self._token) else self._token

    async def _awaited(self, is_refused: bool) -> Any:
        token = self._plain(is_refused)
        return await token if inspect.isawaitable(token) else token


def _with(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def options(base_url: str | None, token: Token) -> dict[str, Any]:
    """What both kinds of httpx client are made with. Without ``base_url`` and ``token``: SPOOL_URL and SPOOL_KEY."""
    token = token if token is not None else os.environ.get("SPOOL_KEY")
    return {
        "base_url": (base_url or os.environ.get("SPOOL_URL") or DEFAULT_URL).rstrip("/"),
        "auth": Bearer(token) if token else None,
        # Each follow has a connection of its own, so their number is the caller's.
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20),
        "headers": {"User-Agent": "spool-client-python"},
    }


def built(http: httpx.Client | httpx.AsyncClient, request: Request, timing: Timing, left_s: float) -> httpx.Request:
    """The request for httpx. ``left_s``: the rest of the caller's own time."""
    timeout = httpx.Timeout(
        connect=min(timing.connect_s, left_s), read=min(request.silence_s, left_s), write=timing.request_s, pool=None
    )
    return http.build_request(
        request.method, request.path, headers=dict(request.headers), content=request.body, timeout=timeout
    )


def head(response: httpx.Response, body: bytes = b"") -> Answer:
    """The answer's head."""
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def unreachable(exc: httpx.HTTPError | httpx.StreamError, request: str) -> Unreachable:
    """An httpx error as ours."""
    is_silence = isinstance(exc, httpx.ReadTimeout)
    reason = str(exc) or type(exc).__name__
    if isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout):
        message = f"the server cannot be reached: {reason}"
    elif is_silence:
        message = "the server was silent for too long"
    else:
        message = f"the connection was lost: {reason}"
    return Unreachable(message, request=request, is_silence=is_silence)
