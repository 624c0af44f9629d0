"""Requests whose answer comes as one ``Result``: no conversations, and completions that a list of texts cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EMBEDDINGS = "embeddings"
IMAGES = "images/generations"
COMPLETIONS = "completions"
CHAT = "chat/completions"
"""Several answers to one conversation; one answer has no endpoint of its own."""


def is_whole(endpoint: str, params: Mapping[str, Any]) -> bool:
    """Whether the answer to this request is one ``Result``."""
    if endpoint != COMPLETIONS:
        return bool(endpoint)
    has_one = isinstance(params.get("prompt"), str) and all((params.get(name) or 1) == 1 for name in ("n", "best_of"))
    return not has_one or params.get("logprobs") is not None
