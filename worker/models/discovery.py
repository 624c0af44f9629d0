"""Asks an upstream which models it serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from spool.models.model import Model, Upstream
from worker.backends import BackendError
from worker.backends.openai import errors as upstream_errors
from worker.backends.openai.chunks import Garbage
from worker.backends.openai.client import connect
from worker.backends.openai.scrub import Scrubber

MAX_MODELS = 500
_READ_S = 10.0
_NAME_CHARACTERS = 200


def discover(upstream: Upstream) -> tuple[Model, ...]:
    """The first ``MAX_MODELS`` models that ``upstream`` lists, under the upstream's names.

    Asks once. Raises ``BackendError`` as generating does, with ``upstream_unavailable`` if a later try may succeed.
    Azure lists the models that could be deployed, not the deployed ones, so its only model is ``deployment``.
    """
    if upstream.kind == "azure" and upstream.deployment:
        return (_model(upstream, upstream.deployment),)
    try:
        with connect(upstream, read_s=_READ_S) as client:
            body = client.models.with_raw_response.list().http_response.content
        names = dict.fromkeys(_names(body))
    except upstream_errors.FOREIGN as exc:
        raise _error(exc, upstream) from exc
    return tuple(_model(upstream, name) for name in list(names)[:MAX_MODELS])


def _names(body: bytes) -> Iterator[str]:
    try:
        listed: Any = orjson.loads(body)["data"]
        for item in listed:
            name = item["id"]
            if isinstance(name, str) and 0 < len(name) <= _NAME_CHARACTERS:
                yield name
    except (orjson.JSONDecodeError, KeyError, TypeError) as exc:
        raise Garbage("no list of models") from exc


def _model(upstream: Upstream, name: str) -> Model:
    return Model(name=name, backend="openai", upstream=upstream.name, upstream_model=name)


def _error(exc: Exception, upstream: Upstream) -> BackendError:
    error = upstream_errors.translate(exc, Scrubber(upstream.url, upstream.api_key), began=False)
    if isinstance(error, BackendError):
        return error
    return BackendError("upstream_unavailable", error.reason, retryable=True)
