"""The endpoints that a line of a batch may name: the draft of the job that its body describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from spool.jobs.job import OnDisconnect
from web.intake.draft import Draft
from web.intake.idempotency import NO_KEY, Idempotency
from web.intake.shapes import checked
from web.openai import chat_request, endpoint_requests, response_draft
from web.openai.chat_request import ChatRequest
from web.openai.endpoint_requests import CompletionsRequest, EmbeddingsRequest, ImagesRequest
from web.openai.fields import refuse
from web.openai.response_request import ResponsesRequest
from web.services import State


def _of_response(services: State, asked: ResponsesRequest, idempotency: Idempotency) -> Draft:
    if asked.conversation is not None:
        refuse("conversation", "is not available in a batch, whose lines run in any order")
    return response_draft.draft_of(services, asked, idempotency)[0]


_ENDPOINTS: Mapping[str, tuple[type[Any], Callable[[State, Any, Idempotency], Draft]]] = {
    "/v1/chat/completions": (ChatRequest, chat_request.draft_of),
    "/v1/responses": (ResponsesRequest, _of_response),
    "/v1/completions": (CompletionsRequest, endpoint_requests.draft_of),
    "/v1/embeddings": (EmbeddingsRequest, endpoint_requests.draft_of),
    "/v1/images/generations": (ImagesRequest, endpoint_requests.draft_of),
}
ENDPOINTS = tuple(_ENDPOINTS)
"""The paths of these endpoints."""


def draft_of_line(services: State, url: str, body: Any) -> Draft:
    """The draft of the job that ``body`` describes at ``url``, one of ``ENDPOINTS``. The caller sets what a batch
    decides: ``place``, ``priority``, ``coalesce``. Raises a 422 ``Problem`` whose fields are those of the body."""
    shape, draft_of = _ENDPOINTS[url]
    asked = checked(shape, body)
    asked.check()
    # No reader waits for a line, so nothing of it was seen if it restarts.
    return replace(draft_of(services, asked, NO_KEY), on_disconnect=OnDisconnect.CONTINUE, streams_text=False)
