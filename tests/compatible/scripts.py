"""What the scripted upstreams answer."""

from __future__ import annotations

import base64
from typing import Any

from tests.scripted_upstream import Call

USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 7,
    "total_tokens": 16,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
ERRORS: dict[str, tuple[int, dict[str, Any]]] = {
    "context": (400, {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}),
    "words": (400, {"message": "maximum context length is 4096 tokens", "type": "BadRequestError", "code": 400}),
    "filter": (400, {"message": "filtered", "type": None, "code": "content_filter", "param": "prompt"}),
    "quota": (429, {"message": "no money", "type": "insufficient_quota", "code": "insufficient_quota"}),
    "overloaded": (503, {"message": "busy", "type": "server_error", "code": "server_overloaded"}),
    "model": (404, {"message": "gone", "type": "invalid_request_error", "code": "model_not_found"}),
}


def answers(call: Call) -> None:
    """An answer with everything: reasoning, text, two calls whose pieces are mixed, usage with details."""
    call.begin()
    call.delta(reasoning_content="Hm. ")
    call.delta(content="Let me ")
    call.delta(content="see.")
    for index, name in ((0, "one"), (1, "two")):
        function = {"name": name, "arguments": ""}
        call.delta(tool_calls=[{"index": index, "id": f"call-{name}", "type": "function", "function": function}])
    for piece in ('{"city":', '"Oslo"}'):
        for index in (0, 1):
            call.delta(tool_calls=[{"index": index, "function": {"arguments": piece}}])
    call.delta("tool_calls")
    call.event({"choices": [], "usage": USAGE})
    call.send(b"data: [DONE]\n\n")


def fails(call: Call) -> None:
    """An upstream that fails as the prompt names; after its first word for ``later NAME``."""
    content = call.body["messages"][-1]["content"] if "messages" in call.body else call.body["prompt"]
    prompt = content if isinstance(content, str) else content[0]["text"]
    status, error = ERRORS[prompt.removeprefix("later ")]
    if prompt.startswith("later "):
        call.begin()
        call.text("Hel")
        call.event({"error": {**error, "status": status}})
    else:
        call.json(status, {"error": error})


def thinks(call: Call) -> None:
    """Reasoning and a text; the text tells how many answers the prompt has already."""
    said = sum(message["role"] == "assistant" for message in call.body["messages"])
    call.begin()
    call.delta(reasoning=f"Thought {said}. ")
    call.delta(content=f"Answer {said}.")
    call.done()


ANNOTATION = {
    "type": "url_citation",
    "url_citation": {"url": "http://a.example/", "title": "A", "start_index": 0, "end_index": 3},
}


SOUND = b"RIFF" + bytes(range(256)) * 40
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4


def refuses_or_cites(call: Call) -> None:
    """A refusal, a picture or audio if the prompt says so, else a text with an annotation."""
    if "speak" in call.body["messages"][-1]["content"]:
        speaks(call)
        return
    call.begin()
    prompt = call.body["messages"][-1]["content"]
    if "draw" in prompt:
        url = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
        call.delta(content="Look: ")
        call.delta(images=[{"type": "image_url", "index": 0, "image_url": {"url": url}}])
    elif "refuse" in prompt:
        call.delta(refusal="I ")
        call.delta(refusal="cannot.")
    else:
        call.delta(content="See")
        call.delta(annotations=[ANNOTATION])
        call.delta(content=" A.")
    call.done()


def speaks(call: Call) -> None:
    """Audio, in pieces of a stream or whole, as it is asked for."""
    data = [base64.b64encode(part).decode() for part in (SOUND[:5000], SOUND[5000:])]
    if call.body["stream"]:
        call.begin()
        call.delta(audio={"id": "audio_1", "transcript": "Hello "})
        for part, words in zip(data, ("there", "."), strict=True):
            call.delta(audio={"data": part, "transcript": words})
        call.delta(audio={"expires_at": 1})
        call.done()
        return
    audio = {"id": "audio_1", "data": base64.b64encode(SOUND).decode(), "transcript": "Hello there.", "expires_at": 1}
    message = {"role": "assistant", "content": None, "refusal": None, "audio": audio}
    call.json(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
