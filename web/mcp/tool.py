"""A tool of ``/mcp``, and the base of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from spool.jobs.job import Job
from web.intake.idempotency import Idempotency
from web.problems import Problem
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
    begin: Callable[[State, Any, Idempotency], Job] | None = None
    """What ``run`` does before it waits. With it the tool can be called as a task, which is that job."""

    def document(self, name: str) -> dict[str, Any]:
        """The tool as ``tools/list`` shows it."""
        return {
            "name": name,
            "description": self.description,
            "inputSchema": self.arguments.model_json_schema(),
            "annotations": {"readOnlyHint": self.is_read_only, "openWorldHint": False},
        }


def tool_result(answer: Mapping[str, Any], *, is_error: bool = False) -> dict[str, Any]:
    """The result of a call: the answer as data, and as text."""
    return {"content": [_text(orjson.dumps(answer).decode())], "structuredContent": answer, "isError": is_error}


def failed_result(problem: Problem) -> dict[str, Any]:
    """An error as the tool's result: the model then sees its cause and can act on it."""
    job = f" (job {problem.extra['job']})" if "job" in problem.extra else ""
    return {"content": [_text(f"{problem.title}: {problem.detail}{job}")], "isError": True}


def _text(text: str) -> Mapping[str, str]:
    return {"type": "text", "text": text}
