"""Replay of an earlier message: its parts as the chunks that rebuild them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from web.ai_sdk.ui_messages import UiPart

Chunk = dict[str, Any]

_AS_IT_IS = ("file", "source-", "data-")


def chunks_of(parts: Sequence[Mapping[str, Any]]) -> Iterator[Chunk]:
    """The chunks of these parts, closing the last step."""
    in_step = False
    for at, raw in enumerate(parts):
        part = UiPart.model_validate(raw)
        if part.type == "step-start":
            if in_step:
                yield {"type": "finish-step"}
            in_step = True
            yield {"type": "start-step"}
        elif part.type in ("text", "reasoning"):
            yield from _text(part, f"before-{at}")
        elif part.is_tool:
            yield from _tool(part)
        elif part.type.startswith(_AS_IT_IS):
            yield dict(raw)
    if in_step:
        yield {"type": "finish-step"}


def _text(part: UiPart, part_id: str) -> Iterator[Chunk]:
    yield {"type": f"{part.type}-start", "id": part_id}
    yield {"type": f"{part.type}-delta", "id": part_id, "delta": part.text or ""}
    yield {"type": f"{part.type}-end", "id": part_id}


def _tool(part: UiPart) -> Iterator[Chunk]:
    """The chunks of a tool call. The input is a delta, because ``tool-input-available`` would make the client call the
    tool again."""
    call = {"toolCallId": part.tool_call_id}
    named = {**call, "toolName": part.called, **({"dynamic": True} if part.type == "dynamic-tool" else {})}
    yield {"type": "tool-input-start", **named}
    if part.given is not None:
        yield {"type": "tool-input-delta", **call, "inputTextDelta": orjson.dumps(part.given).decode()}
    match part.state:
        case "output-available":
            preliminary = {"preliminary": True} if part.preliminary else {}
            yield {"type": "tool-output-available", **call, "output": part.output, **preliminary}
        case "output-error":
            yield {"type": "tool-output-error", **call, "errorText": part.error_text or ""}
        case "output-denied":
            yield {"type": "tool-output-denied", **call}
        case "input-available":
            yield {"type": "tool-input-available", **named, "input": part.tool_input}
