"""Asks an upstream which models it serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gevent
import httpx2

from spool.models.model import Model, Upstream
from worker.backends import BackendError
from worker.backends.openai import errors as upstream_errors
from worker.backends.openai.chunks import Garbage
from worker.backends.openai.client import connect
from worker.backends.openai.scrub import Scrubber
from worker.backends.openai.whole_answers import read_document

MAX_MODELS = 500
MAX_BYTES = 4 * 1024 * 1024
"""Read limit for a list of models."""
TOTAL_S = 30.0
"""Limit for the whole call. An upstream that sends a byte now and then delays no other upstream's list."""
_READ_S = 10.0
_NAME_CHARACTERS = 200


def discover(upstream: Upstream, total_s: float = TOTAL_S) -> tuple[Model, ...]:
    """The first ``MAX_MODELS`` models that ``upstream`` lists within ``total_s``, under the upstream's names.

    Asks once. Raises ``BackendError`` as generating does, with ``upstream_unavailable`` if a later try may succeed.
    Azure lists the models that could be deployed, not the deployed ones, so its only model is ``deployment``.
    """
    if upstream.kind == "azure" and upstream.deployment:
        return (_model(upstream, upstream.deployment),)
    try:
        with (
            gevent.Timeout(total_s, httpx2.ReadTimeout(f"no whole list of models within {total_s:g} s")),
            connect(upstream, read_s=_READ_S) as client,
            client.models.with_streaming_response.list(extra_headers={"Accept-Encoding": "identity"}) as response,
        ):
            listed = read_document(response.http_response, MAX_BYTES)
        names = dict.fromkeys(_names(listed))
    except upstream_errors.FOREIGN as exc:
        raise _error(exc, upstream) from exc
    return tuple(_model(upstream, name) for name in list(names)[:MAX_MODELS])


def _names(listed: Mapping[str, Any]) -> Iterator[str]:
    try:
        for item in listed["data"]:
            name = item["id"]
            if isinstance(name, str) and 0 < len(name) <= _NAME_CHARACTERS:
                yield name
    except (KeyError, TypeError) as exc:
        raise Garbage("no list of models") from exc


def _model(upstream: Upstream, name: str) -> Model:
    return Model(name=name, backend="openai", upstream=upstream.name, upstream_model=name)


def _error(exc: Exception, upstream: Upstream) -> BackendError:
    error = upstream_errors.translate(exc, Scrubber(upstream.url, upstream.api_key), began=False)
    if isinstance(error, BackendError):
        return error
    return BackendError("upstream_unavailable", error.reason, retryable=True)
