"""``/v1/messages`` as Anthropic's SDK for Node sees it; only its base URL is set (``node/anthropic_sdk.mjs``)."""

from __future__ import annotations

import pytest

from tests.compatible.node_runtime import run_node
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack

# `make clients` runs them.
pytestmark = pytest.mark.slow

CASES = (
    "a whole message",
    "a stream",
    "the stream helper",
    "a picture and the result of a tool",
    "tools that the SDK runs",
    "a failure before the first token",
    "a failure in the stream",
    "the count of tokens",
    "models",
)


@pytest.fixture(scope="module")
def outcomes(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> dict[str, str | None]:
    """The outcome of each case: null, or its error."""
    found: dict[str, str | None] = run_node("anthropic_sdk.mjs", stack_and_upstreams[0].webs[0].url)
    assert set(found) == set(CASES)
    return found


@pytest.mark.parametrize("case", CASES)
def test_node_sdk(outcomes: dict[str, str | None], case: str) -> None:
    """The SDK gets what its users expect of it."""
    assert outcomes[case] is None, outcomes[case]
