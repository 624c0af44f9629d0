"""A tool of ``/mcp``, and the base of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from web.intake.idempotency import Idempotency
from web.services import State


class Input(BaseModel):
    """The arguments of a tool."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its meaning, its arguments, its scope, and what it does."""

    description: str
    arguments: type[BaseModel]
    scope: str
    run: Callable[[State, Any, Idempotency], Mapping[str, Any]]
    is_read_only: bool = False

    def document(self, name: str) -> dict[str, Any]:
        """The tool as ``tools/list`` shows it."""
        return {
            "name": name,
            "description": self.description,
            "inputSchema": self.arguments.model_json_schema(),
            "annotations": {"readOnlyHint": self.is_read_only, "openWorldHint": False},
        }
