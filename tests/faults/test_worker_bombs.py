"""Small requests that could cost a worker much: its other jobs go on all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.bystander import Bystander
from tests.faults.jobs import Jobs
from tests.stack import running_stack

_JOBS = 20


def _schema(width: int, levels: int) -> dict[str, Any]:
    defs: dict[str, Any] = {"L0": {"type": "string"}}
    for level in range(1, levels + 1):
        one = {"$ref": f"#/$defs/L{level - 1}"}
        defs[f"L{level}"] = {"type": "object", "properties": {f"p{n}": one for n in range(width)}}
    return {"$ref": f"#/$defs/L{levels}", "$defs": defs}


_SCHEMA = _schema(30, 4)
_PROMPTS: dict[str, tuple[str, dict[str, Any]]] = {
    "references": ("x", {"response_format": {"type": "json_schema", "json_schema": {"schema": _SCHEMA}}}),
    "tools": (
        "x",
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": _SCHEMA}}], "tool_choice": "required"},
    ),
    "many tools": (
        "a" * 900_000,
        {"tools": [{"type": "function", "function": {"name": f"{'a' * 60}{n}"}} for n in range(512)]},
    ),
    "words": ("w " * 450_000, {"tokens": 5}),
}


@pytest.mark.slow
@pytest.mark.parametrize("bomb", _PROMPTS)
def test_demo_job_that_asks_for_much(directory: Path, bomb: str) -> None:
    """Schemas that multiply, many tools and long prompts do not hold up the other jobs of their worker."""
    prompt, params = _PROMPTS[bomb]
    with running_stack(directory, webs=1, workers=1) as stack, Bystander(stack) as bystander:
        bystander.calm()
        jobs = Jobs(stack)
        with bystander.attack():
            for _ in range(_JOBS):
                jobs.submit(prompt, rate=0, first_token_s=0, **params)
            jobs.wait_for_end()
        bystander.report(f"demo jobs that ask for much ({bomb})", jobs=_JOBS)
        assert bystander.silence_s < 1
