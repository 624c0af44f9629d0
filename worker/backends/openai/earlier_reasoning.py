"""The reasoning of earlier turns, as a model's server wants it back.

Conversations keep it as ``reasoning_content``, DeepSeek's name. Models that think between tool calls (DeepSeek, Kimi,
GLM, MiniMax) answer 400 without it, or forget their plan; OpenAI's servers answer 400 with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spool.models.model import REASONING_OFF

_KEPT_AS = "reasoning_content"


def with_reasoning(
    messages: Sequence[Mapping[str, Any]], style: str, *, is_openai: bool = False
) -> list[Mapping[str, Any]]:
    """The messages with their reasoning in the field ``style`` (``Model.reasoning``), or without it. Without a style
    they stay as they are, except for a server of OpenAI's."""
    style = style or (REASONING_OFF if is_openai else "")
    if style in ("", _KEPT_AS):
        return list(messages)
    return [_moved(message, style) if _KEPT_AS in message else message for message in messages]


def _moved(message: Mapping[str, Any], style: str) -> Mapping[str, Any]:
    others = {name: value for name, value in message.items() if name != _KEPT_AS}
    return others if style == REASONING_OFF else {style: message[_KEPT_AS], **others}
