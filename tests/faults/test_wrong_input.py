"""Wrong input in a row, on every route that takes a body: a clear refusal, and no reader of another job notices."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests.faults.bystander import Bystander
from tests.stack import running_stack

_JSON, _LINES = "application/json", "application/x-ndjson"
_ONES = b"[" + b"1," * 1_000_000 + b"1]"
_EMPTY = b"[" + b"{}," * 1_000_000 + b"{}]"
_NAMES = b"{" + b",".join(b'"n%d":1' % number for number in range(65_536)) + b"}"
_DEEP = b"[" * 100_000 + b"]" * 100_000
_PARTS = b"[" + b'{"type":"text","text":""},' * 80_000 + b'{"type":"text","text":""}]'


def message(content: bytes, name: bytes = b"content") -> bytes:
    """A body whose one message has this content."""
    return b'{"id":"c","messages":[{"role":"user","' + name + b'":' + content + b"}]}"


_MESSAGES = b'{"messages":[' + b",".join([b'{"role":"user","content":[' + b"1," * 999 + b"1]}"] * 1000) + b"]}"
ATTACKS = {
    "2 MB of ones as content": ("/jobs", _JSON, message(_ONES)),
    "1,000 messages of 1,000 ones": ("/jobs", _JSON, _MESSAGES),
    "1,000 messages of 1,000 ones, chat completions": ("/v1/chat/completions", _JSON, _MESSAGES),
    "2 MB of ones as content, chat completions": ("/v1/chat/completions", _JSON, message(_ONES)),
    "2 MB of ones as input, responses": ("/v1/responses", _JSON, b'{"input":' + _ONES + b"}"),
    "2 MB of ones as parts, chat": ("/ai/chat", _JSON, message(_ONES, b"parts")),
    "2 MB of parts, chat": ("/ai/chat", _JSON, message(_PARTS, b"parts")),
    "3 MB of objects as tools": ("/v1/responses", _JSON, b'{"input":"x","tools":' + _EMPTY + b"}"),
    "2 MB of ones to stop a chat": ("/ai/chat/x/stop", _JSON, _ONES),
    "65,536 names": ("/jobs", _JSON, _NAMES),
    "65,536 names as metadata": ("/jobs", _JSON, b'{"prompt":"x","metadata":' + _NAMES + b"}"),
    "65,536 names as params": ("/jobs", _JSON, b'{"prompt":"x","params":' + _NAMES + b"}"),
    "100,000 levels": ("/jobs", _JSON, b'{"prompt":"x","params":' + _DEEP + b"}"),
    "1,000 levels as priority": ("/jobs", _JSON, b'{"prompt":"x","priority":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    "a batch of 1,000,000 ones": ("/batches", _JSON, _ONES),
    "a batch of one with 2 MB of ones": ("/batches", _JSON, b"[" + message(_ONES) + b"]"),
    "8 MB of newlines": ("/batches", _LINES, b"\n" * 8_000_000),
    "8 MB of escapes in a batch": ("/batches", _JSON, b'[{"prompt":"' + b"\\u0041" * 1_300_000 + b'"}]'),
}
_TIMES = 10


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_wrong_input_in_a_row(directory: Path, attack: str) -> None:
    """Each is refused with a 4xx, the web's memory grows little, and another job's reader gets its tokens meanwhile."""
    path, media_type, body = ATTACKS[attack]
    with running_stack(directory, webs=1, workers=1) as stack, Bystander(stack) as bystander:
        client = stack.client()
        bystander.calm()
        took: list[float] = []
        with bystander.attack():
            for _ in range(_TIMES):
                began = time.monotonic()
                response: httpx.Response = client.post(path, content=body, headers={"Content-Type": media_type})
                took.append(time.monotonic() - began)
                assert 400 <= response.status_code < 500
                assert len(response.content) < 5000
        bystander.report(f"input: {attack}", answer_s=round(sorted(took)[_TIMES // 2], 3), status=response.status_code)
        assert bystander.silence_s < 1
        assert bystander.reconnects == 0
        assert bystander.grew_mb("web") < 100
