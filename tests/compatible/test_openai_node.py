"""``/v1`` as the official Node SDK sees it, unmodified but for its base URL. The cases are in ``node/openai_*.mjs``;
they run in one process of node, all at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compatible.node_runtime import run_node
from tests.stack import Stack, running_stack

CASES = (
    "a response as a whole",
    "a response as a stream",
    "the stream helper",
    "in the background, and polled",
    "a stream that is cut, and resumed while it runs",
    "cancel",
    "delete",
    "the next turn, and its input items",
    "a conversation",
    "a tool call and its output",
    "structured output",
    "heartbeats in between",
    "a response that waits for its turn",
    "a response that fails",
    "a completion as a whole",
    "a completion as a stream",
    "a timeout and its retries",
    "the stream helper of chat",
    "a tool call by hand",
    "tools that the SDK runs",
    "heartbeats of chat in between",
    "a completion that waits for its time",
    "a completion that fails",
    "models",
    "a model that is not there",
    "what is refused",
    "embeddings",
    "pictures",
    "completions of the older kind",
    "files",
    "a batch from its file to its output",
    "a batch that cannot run, and one that is cancelled",
)


@pytest.fixture(scope="module")
def outcomes(stack: Stack) -> dict[str, str | None]:
    """What each case came to: null, or what went wrong."""
    return run_node("openai_sdk.mjs", stack.webs[0].url, stack.webs[1].url)


@pytest.mark.parametrize("case", CASES)
def test_node_sdk(outcomes: dict[str, str | None], case: str) -> None:
    """The SDK gets what its users expect of it."""
    assert outcomes[case] is None, outcomes[case]


def test_node_sdk_has_no_other_cases(outcomes: dict[str, str | None]) -> None:
    """None is left out here."""
    assert set(outcomes) == set(CASES)


@pytest.mark.slow
def test_node_sdk_when_a_web_dies(directory: Path) -> None:
    """Streams in the background, one dropped and one cut by the SIGKILL of their web, go on at another web by
    ``starting_after``: complete, and the same as its own whole stream."""
    with running_stack(directory) as stack:
        here, there = stack.webs
        outcomes = run_node("openai_web_dies.mjs", here.url, str(here.pid), there.url, timeout_s=60)
        assert not here.running
    assert outcomes == {"a connection that was dropped before": None, "a connection that the kill cuts": None}
