"""Which requests have one result instead of pieces."""

from __future__ import annotations

from typing import Any

import pytest

from worker.backends.whole import is_whole


@pytest.mark.parametrize(
    ("endpoint", "params", "expected"),
    [
        ("", {"n": 2}, False),
        ("embeddings", {"input": "a"}, True),
        ("images/generations", {"prompt": "a"}, True),
        ("completions", {"prompt": "a"}, False),
        ("completions", {"prompt": "a", "n": 1, "best_of": None, "logprobs": None, "echo": True}, False),
        ("completions", {"prompt": ["a"]}, True),
        ("completions", {"prompt": [1, 2]}, True),
        ("completions", {"prompt": "a", "n": 2}, True),
        ("completions", {"prompt": "a", "best_of": 3}, True),
        ("completions", {"prompt": "a", "logprobs": 0}, True),
    ],
    ids=repr,
)
def test_is_whole(endpoint: str, params: dict[str, Any], expected: bool) -> None:
    """A completion of one text streams; several of them, their log probabilities and all else come as a whole."""
    assert is_whole(endpoint, params) is expected
