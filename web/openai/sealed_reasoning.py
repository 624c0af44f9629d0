"""Reasoning that Spool seals for its owner, as ``reasoning.encrypted_content`` asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from web import auth
from web.services import State


def seal_of(services: State, echo: Mapping[str, Any]) -> Callable[[str], str] | None:
    """Seals the reasoning for its owner, if the request asked for that. Raises ``StoreUnavailable``."""
    return partial(services.sealing.load().seal, auth.owner()) if echo.get("seals_reasoning") else None
