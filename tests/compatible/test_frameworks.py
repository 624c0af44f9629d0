"""Frameworks for agents at ``/v1``, unmodified but for their base URL (``apps/frameworks.py``)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.compatible.applications import run
from tests.stack import Stack

# `make clients` runs them: they load many packages.
pytestmark = pytest.mark.slow

FRAMEWORKS = Path(__file__).with_name("apps") / "frameworks.py"
CASES = ("openai_agents_chat", "openai_agents_responses", "pydantic_ai", "smolagents")


@pytest.mark.parametrize("case", CASES)
def test_framework(stack: Stack, case: str) -> None:
    """The framework's agents get their tools called, their text streamed and their outputs typed."""
    outcomes: dict[str, str | None] = json.loads(run(FRAMEWORKS, stack.webs[0].url, case, needs="pydantic_ai").stdout)
    assert outcomes == {case: None}, outcomes[case]
