"""The requests to an upstream: which endpoint, which body."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, cast

import openai
from openai import APIResponse

from spool.models.model import Model
from worker.backends import BackendError, GenerationRequest
from worker.backends.openai.earlier_reasoning import with_reasoning
from worker.backends.whole import CHAT, COMPLETIONS, EMBEDDINGS, IMAGES

_JSON, _STREAM = "application/json", "text/event-stream"
_OURS = ("model", "messages", "stream")


def name_of(model: Model) -> str:
    """The upstream's name for the model."""
    return model.upstream_model or model.name


def call(
    client: openai.OpenAI, request: GenerationRequest, *, streams: bool, asks_usage: bool, is_openai: bool
) -> AbstractContextManager[APIResponse[Any]]:
    """The request, sent on entering. Leaving closes the connection, unless it can be reused. ``streams``: ask for a
    stream; ``asks_usage``: and for the usage at its end; ``is_openai``: the upstream is OpenAI or Azure."""
    if request.endpoint not in ("", CHAT):
        return _other(client, request, streams=streams, asks_usage=asks_usage)
    messages, extra = list(request.messages), _with_usage(_callers(request), asks=streams and asks_usage)
    messages = with_reasoning(messages, request.model.reasoning, is_openai=is_openai)
    if "max_completion_tokens" in extra and not is_openai:
        # Other servers use the older name; those that know the newer one know both.
        extra.setdefault("max_tokens", extra.pop("max_completion_tokens"))
    return client.chat.completions.with_streaming_response.create(
        model=name_of(request.model),
        messages=cast(Any, messages),
        stream=streams,
        extra_body=extra,
        extra_headers=_headers(request, _STREAM if streams else _JSON),
    )


def _other(
    client: openai.OpenAI, request: GenerationRequest, *, streams: bool, asks_usage: bool
) -> AbstractContextManager[APIResponse[Any]]:
    model, body = name_of(request.model), _callers(request)
    if request.endpoint == EMBEDDINGS:
        # Without this the SDK asks for base64, which not every server knows.
        body.setdefault("encoding_format", openai.omit)
        return client.embeddings.with_streaming_response.create(
            model=model, input=body.pop("input", ""), extra_body=body, extra_headers=_headers(request)
        )
    if request.endpoint == IMAGES:
        return client.images.with_streaming_response.generate(
            model=model, prompt=body.pop("prompt", ""), extra_body=body, extra_headers=_headers(request)
        )
    if request.endpoint != COMPLETIONS:
        message = f"this worker does not know the endpoint {request.endpoint}; update it"
        raise BackendError("unknown_endpoint", message, retryable=True)
    return client.completions.with_streaming_response.create(
        model=model,
        prompt=body.pop("prompt", ""),
        stream=streams,
        extra_body=_with_usage(body, asks=streams and asks_usage),
        extra_headers=_headers(request, _STREAM if streams else _JSON),
    )


def _callers(request: GenerationRequest) -> dict[str, Any]:
    """The caller's fields without those that Spool sets."""
    return {name: value for name, value in request.params.items() if name not in _OURS}


def _with_usage(body: dict[str, Any], *, asks: bool) -> dict[str, Any]:
    options = body.pop("stream_options", None)
    if asks:
        body["stream_options"] = {**(options or {}), "include_usage": True}
    return body


def _headers(request: GenerationRequest, accepts: str = _JSON) -> dict[str, str]:
    # Compression would delay tokens.
    return {**request.headers, "Accept": accepts, "Accept-Encoding": "identity"}
