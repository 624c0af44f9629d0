"""The SDK's client for one upstream: no SDK retries, bounded connecting, unbounded reading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast
from urllib.request import getproxies

import httpx2
import openai

from spool.models.model import Upstream
from worker.backends.openai.transport import UpstreamTransport

CONNECT_S = 10.0
MAX_ERROR_BYTES = 64 * 1024
"""Read limit for the content of an error answer."""
_WRITE_S = 60.0
# Shorter than the 5 s after which uvicorn (vLLM, transformers) and Node close an idle connection, so that no job is
# sent over a connection that the server is closing.
_KEEPALIVE_S = 3.0
_KEPT = 20
# Every stream holds a connection; only the worker's concurrency should limit them.
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=_KEPT, keepalive_expiry=_KEEPALIVE_S)
_AZURE_API_VERSION = "2024-10-21"


def connect(upstream: Upstream, *, connect_s: float = CONNECT_S, read_s: float | None = None) -> openai.OpenAI:
    """Create a client for ``upstream`` without sending anything. ``read_s`` limits each single read; None: no limit."""
    timeout = openai.Timeout(connect=connect_s, read=read_s, write=_WRITE_S, pool=None)
    pool = openai.DefaultHttpxClient(
        timeout=timeout,
        limits=_LIMITS,
        transport=_transport(upstream.url),
        # A prompt must go only to the configured server.
        follow_redirects=False,
        event_hooks={"response": [_bound_error]},
    )
    # Never None: the SDK would send the environment's OPENAI_API_KEY to this upstream.
    api_key = upstream.api_key or "none"
    if upstream.kind == "azure":
        return openai.AzureOpenAI(
            azure_endpoint=upstream.url,
            azure_deployment=upstream.deployment or None,
            api_version=upstream.api_version or _AZURE_API_VERSION,
            api_key=api_key,
            max_retries=0,
            timeout=timeout,
            http_client=pool,
        )
    return openai.OpenAI(
        base_url=upstream.url,
        api_key=api_key,
        max_retries=0,
        timeout=timeout,
        http_client=pool,
    )


class _Bounded(httpx2.SyncByteStream):
    """The first ``MAX_ERROR_BYTES`` of an answer's content."""

    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        left = MAX_ERROR_BYTES
        for chunk in self._stream:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                break

    def close(self) -> None:
        self._stream.close()


def _bound_error(response: httpx2.Response) -> None:
    """Limit the content of an error answer, because the SDK reads all of it."""
    if response.status_code >= 300:
        response.stream = _Bounded(cast(httpx2.SyncByteStream, response.stream))
        # An encoded kilobyte may decode to a megabyte. Read undecoded, it has no message, only a status.
        response.headers.pop("content-encoding", None)


def _transport(url: str) -> httpx2.BaseTransport | None:
    """Spool's transport, which costs a third; None, meaning httpx2's own, if the environment names a proxy."""
    # The same source as httpx2's. httpx2 itself evaluates which hosts NO_PROXY excludes.
    if getproxies().keys() & {"http", "https", "all"}:
        return None
    transport = UpstreamTransport(keep=_KEPT, keep_s=_KEEPALIVE_S)
    if url.lower().startswith("https:"):
        # Now, and not while jobs run.
        _ = transport.tls
    return transport
