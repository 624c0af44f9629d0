"""Earlier turns are stored once for all jobs of a conversation, on every surface that a turn can come in by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from spool.keys import job as job_key
from tests.by_hand import store_of
from tests.stack import Stack, wait_for

TURN = 5000
TURNS = 6
Texts = list[str]


def whole(texts: Texts) -> list[dict[str, Any]]:
    """A conversation as a client keeps it, which says what the answers were."""
    messages: list[dict[str, Any]] = []
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": f"answer to {text[:20]}"}]
    return messages[:-1]


def native(texts: Texts, before: str) -> tuple[str, dict[str, Any]]:
    """A job that names the one before."""
    body = {"prompt": texts[-1], "params": {"tokens": 5, "rate": 0}}
    return "/jobs", {**body, **({"continue_from": before} if before else {})}


def response(texts: Texts, before: str) -> tuple[str, dict[str, Any]]:
    """A response that names the one before."""
    body = {"input": texts[-1], "background": True, "model": "demo", "tokens": 5, "rate": 0}
    return "/v1/responses", {**body, **({"previous_response_id": f"resp_{before}"} if before else {})}


def whole_response(texts: Texts, _before: str) -> tuple[str, dict[str, Any]]:
    """A response whose input is the conversation."""
    return "/v1/responses", {"input": whole(texts), "background": True, "model": "demo", "tokens": 5, "rate": 0}


def completion(texts: Texts, _before: str) -> tuple[str, dict[str, Any]]:
    """A chat completion."""
    return "/v1/chat/completions", {"messages": whole(texts), "model": "demo", "tokens": 5, "rate": 0}


def ai_chat(texts: Texts, _before: str) -> tuple[str, dict[str, Any]]:
    """A message of the AI SDK's chat."""
    messages = [
        {"id": f"m{number}", "role": one["role"], "parts": [{"type": "text", "text": one["content"]}]}
        for number, one in enumerate(whole(texts))
    ]
    return "/ai/chat", {"id": f"chat of {texts[0][:12]}", "messages": messages, "params": {"tokens": 5, "rate": 0}}


def asked(client: httpx.Client, path: str, body: dict[str, Any]) -> str:
    """The job that this request becomes, once it has ended."""
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 202), answer.text
    job = answer.headers.get("X-Spool-Job") or str(answer.json()["id"])
    wait_for(lambda: client.get(f"/jobs/{job}").json()["status"] == "succeeded", "it ends")
    return job


@pytest.mark.parametrize("make", [native, response, whole_response, completion, ai_chat])
def test_conversation_is_stored_once(stack: Stack, make: Callable[[Texts, str], tuple[str, dict[str, Any]]]) -> None:
    """However the turns of a conversation come, a job keeps what it asks itself, and its model gets all of it."""
    client, link, texts, job = stack.client(), stack.redis.link, Texts(), ""
    for number in range(TURNS):
        texts.append(f"{make.__name__} {number} ".ljust(TURN, "x"))
        job = asked(client, *make(texts, job))
        assert link.call("STRLEN", f"{job_key(job)}:input") < 2.5 * TURN
    messages = store_of(link).input_of(job)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * (TURNS - 1) + ["user"]
    assert [_text(message) for message in messages[::2]] == texts
    assert store_of(link).sizes(job).input > TURNS * TURN


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def test_lost_turns_are_said(stack: Stack) -> None:
    """Where earlier turns were lost in Redis, a request that needs them is refused, and the job itself is there."""
    client, link = stack.client(), stack.redis.link
    first = asked(client, *native(["lost ".ljust(TURN, "y")], ""))
    job = asked(client, *native(["and?"], first))
    digest = link.call("HGET", job_key(job), "before").decode()
    keys = link.call("KEYS", f"spool:{{0}}:block:*:{digest}")
    assert len(keys) == 1
    link.call("DEL", *keys)
    path, body = native(["and?"], job)
    for answer in (client.post(path, json=body), client.get(f"/v1/responses/resp_{job}/input_items")):
        assert answer.status_code == 409, answer.text
    assert client.get(f"/jobs/{job}").json()["status"] == "succeeded"
