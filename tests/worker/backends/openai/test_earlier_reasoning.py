"""The reasoning of earlier turns, as servers want it."""

from __future__ import annotations

import pytest

from worker.backends.openai.earlier_reasoning import with_reasoning

PLAIN = {"role": "assistant", "content": "a"}
MESSAGES = [{"role": "user", "content": "x"}, {**PLAIN, "reasoning_content": "hm"}]


@pytest.mark.parametrize(
    ("style", "is_openai", "sent"),
    [
        ("", False, {**PLAIN, "reasoning_content": "hm"}),
        ("", True, PLAIN),
        ("off", False, PLAIN),
        ("reasoning", False, {**PLAIN, "reasoning": "hm"}),
        ("reasoning_content", True, {**PLAIN, "reasoning_content": "hm"}),
    ],
)
def test_styles(style: str, is_openai: bool, sent: dict[str, str]) -> None:
    """The models file names the field, or none; without it OpenAI gets none."""
    assert with_reasoning(MESSAGES, style, is_openai=is_openai) == [MESSAGES[0], sent]
