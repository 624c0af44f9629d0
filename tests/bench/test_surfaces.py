"""The tokens in the answers of all surfaces."""

from __future__ import annotations

import json

import pytest

from bench.surfaces import SURFACES

ANSWERS = {
    "/v1/chat/completions": '{"choices":[{"delta":{"content":"%s"}}]}',
    "/v1/responses": '{"type":"response.output_text.delta","delta":"%s"}',
    "/v1/messages": '{"delta":{"type":"text_delta","text":"%s"}}',
    "/v1/completions": '{"choices":[{"text":"%s"}]}',
    "/ai/chat": '{"type":"text-delta","delta":"%s"}',
    "/api/chat": '{"message":{"content":"%s"}}',
    "/jobs, SSE": '{"kind":"token","text":"%s"}',
}


@pytest.mark.parametrize("size", [1, 40, 4000])
@pytest.mark.parametrize("name", SURFACES)
def test_tokens(name: str, size: int) -> None:
    """Each token is found once, wherever its bytes are divided, and not in the whole text at the end."""
    times = [1_764_000_000_000_000 + number for number in range(20)]
    whole = "".join(f"{time} " for time in times)
    stream = "".join(ANSWERS[name] % f"{time} " + "\n\n" for time in times) + json.dumps({"text": whole})
    data, tokens = stream.encode(), SURFACES[name].tokens()
    found = [time for at in range(0, len(data), size) for time in tokens.add(data[at : at + size])]
    assert found == times
    assert tokens.count == len(times)


@pytest.mark.parametrize("name", SURFACES)
def test_request(name: str) -> None:
    """A request asks for a number of tokens, and is an HTTP request of its path."""
    head, _, body = SURFACES[name].request(80, 9, 1).partition(b"\r\n\r\n")
    assert head.startswith(f"POST {SURFACES[name].path} HTTP/1.1\r\n".encode())
    assert int(head.rpartition(b"Content-Length: ")[2]) == len(body)
    assert b": 9" in body
