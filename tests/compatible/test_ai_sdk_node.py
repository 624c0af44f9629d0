"""``/ai/chat`` as the AI SDK itself sees it, unmodified (``node/ai_sdk.mjs``)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.compatible.node_runtime import run_node
from tests.stack import Stack

FAST = {"rate": 0}
SLOW = {"tokens": 120, "rate": 40}
"""Long enough for a chat to be cut and resumed while its job runs, also on a busy machine."""
ENDLESS = {"tokens": 5000, "rate": 40}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
TOOLS = {"tools": [WEATHER], "tool_choice": "required"}


def node(stack: Stack, scenario: str, body: dict[str, Any], **options: Any) -> Any:
    """What the chat of ``node/ai_sdk.mjs`` saw, which is at the first web, and resumes at the second."""
    urls = {"url": stack.webs[0].url, "other": stack.webs[1].url}
    return run_node("ai_sdk.mjs", scenario, orjson.dumps({**urls, "body": body, **options}).decode())


def parts_of(seen: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of the chat's last message, which is the only one of its id, and the assistant's."""
    last = seen["messages"][-1]
    assert last["role"] == "assistant"
    assert [message["id"] for message in seen["messages"]].count(last["id"]) == 1
    parts: list[dict[str, Any]] = last["parts"]
    return parts


def job_of(stack: Stack, seen: dict[str, Any]) -> dict[str, Any]:
    """The job behind the chat's last message, at the other web."""
    job: dict[str, Any] = stack.client(1).get(f"/jobs/{seen['messages'][-1]['id'].removeprefix('msg_')}").json()
    return job


def test_chat_to_its_end(stack: Stack) -> None:
    """The SDK's chat gets two answers, each as one message whose text is the job's."""
    seen = node(stack, "whole", {"params": FAST})
    assert (seen["status"], seen.get("error")) == ("ready", None)
    assert [message["role"] for message in seen["messages"]] == ["user", "assistant"] * 2
    assert [part["type"] for part in parts_of(seen)] == ["step-start", "text"]
    assert parts_of(seen)[1] == {"type": "text", "text": job_of(stack, seen)["text"], "state": "done"}
    assert "And a reel?" in parts_of(seen)[1]["text"]
    assert (
        seen["finishes"]
        == [
            {"isAbort": False, "isDisconnect": False, "isError": False, "finishReason": "stop"},
        ]
        * 2
    )
    assert seen["data"][-1]["data"]["outputTokens"] == job_of(stack, seen)["usage"]["output_tokens"]


@pytest.mark.parametrize("size", [400, pytest.param(1200, marks=pytest.mark.slow)])
def test_cut_and_resume(stack: Stack, size: int) -> None:
    """A chat whose connection is lost resumes at another web, and has the job's text as one part of one message."""
    seen = node(stack, "cut", {"params": SLOW}, bytes=size)
    assert seen["before"]["status"] == "error"
    assert seen["before"]["finishes"][0]["isDisconnect"]
    after = seen["after"]
    assert (after["status"], after.get("error")) == ("ready", None)
    assert len(after["messages"]) == 2
    assert [part["type"] for part in parts_of(after)] == ["step-start", "text"]
    assert parts_of(after)[1]["text"] == job_of(stack, after)["text"]
    assert after["finishes"][-1]["finishReason"] == "length"


def test_cut_before_the_end(stack: Stack) -> None:
    """A chat whose connection is lost near the end gets the rest after the end, as one part of one message."""
    seen = node(stack, "cutBeforeItsEnd", {"params": {"tokens": 40, "rate": 200}}, bytes=2500)
    assert seen["before"]["status"] == "error"
    after = seen["after"]
    assert (after["status"], after.get("error"), len(after["messages"])) == ("ready", None, 2)
    assert [part["type"] for part in parts_of(after)] == ["step-start", "text"]
    assert parts_of(after)[1]["text"] == job_of(stack, after)["text"] != parts_of(seen["before"])[1]["text"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, TOOLS], ids=["text", "tools"])
def test_resume_of_what_the_chat_has(stack: Stack, more: dict[str, Any]) -> None:
    """A chat that has all of an ended answer has it once after a resume, and so has a page that is loaded again."""
    seen = node(stack, "hasAll", {"params": FAST, **more})
    assert seen["chat"]["messages"] == seen["again"]["messages"] == seen["before"]
    assert (seen["chat"]["status"], seen["again"]["status"]) == ("ready", "ready")
    assert "finish" in seen["again"]["kinds"]


@pytest.mark.slow
def test_page_loaded_again(stack: Stack) -> None:
    """A new chat of the same id at another web resumes the answer as a whole, beside the one that began it."""
    seen = node(stack, "reloaded", {"params": SLOW})
    assert [one["status"] for one in seen.values()] == ["ready", "ready"]
    assert seen["first"]["messages"] == seen["again"]["messages"]
    assert parts_of(seen["again"])[1]["text"] == job_of(stack, seen["again"])["text"]


@pytest.mark.slow
def test_client_side_stop(stack: Stack) -> None:
    """``stop()`` only lets go of the connection: the answer goes on, and the chat resumes it."""
    seen = node(stack, "left", {"params": SLOW})
    assert seen["before"]["status"] == "ready"
    assert seen["before"]["finishes"][-1]["isAbort"]
    text = parts_of(seen["after"])[1]["text"]
    assert text == job_of(stack, seen["after"])["text"]
    assert text.startswith(parts_of(seen["before"])[1]["text"])


def test_stop_button(stack: Stack) -> None:
    """The stop of the SDK's guide ends the answer for all its readers, who see an abort; a late one for an older stream
    does nothing."""
    seen = node(stack, "stop", {"params": ENDLESS})
    assert seen["answers"] == [{"success": True}] * 2
    assert seen["between"] == ["streaming", "streaming"]
    for reader in (seen["first"], seen["second"]):
        assert (reader["status"], reader["kinds"][-1]) == ("ready", "abort")
        assert parts_of(reader)[-1]["state"] == "done"
    assert parts_of(seen["first"]) == parts_of(seen["second"])
    assert job_of(stack, seen["first"])["status"] == "cancelled"


def test_failure(stack: Stack) -> None:
    """A job that fails is the chat's error, with the job's message, and what it had said stays."""
    seen = node(stack, "failure", {"params": {"fail_after": 3, **FAST}})
    assert seen["status"] == "error"
    assert seen["error"] == job_of(stack, seen)["error"]["message"] == "failed after 3 tokens, as asked"
    assert parts_of(seen)[1]["text"] == job_of(stack, seen)["text"]


@pytest.mark.slow
def test_refusal(stack: Stack) -> None:
    """A request that is refused is the chat's error as well."""
    seen = node(stack, "failure", {"model": "nothing"})
    assert seen["status"] == "error"
    assert "no model 'nothing'" in seen["error"]


@pytest.mark.slow
def test_idle(stack: Stack) -> None:
    """Nothing to resume, or nothing that the chat lacks: ``reconnectToStream`` gives null, and it stays ready."""
    seen = node(stack, "idle", {"params": FAST})
    assert (seen["unknown"], seen["ended"]) == (None, None)
    assert seen["status"] == "ready"
    assert len(seen["messages"]) == 2


@pytest.mark.parametrize("size", [pytest.param(None, marks=pytest.mark.slow), 1600])
def test_tool_call(stack: Stack, size: int | None) -> None:
    """A tool of the application's is called once, with whole input; its output is sent by the chat itself, and the
    answer goes on in the same message; also where that is cut and resumed."""
    params = {"tokens": 40, "rate": 10 if size else 40}
    seen = node(stack, "tools", {"params": params, **TOOLS}, bytes=size)
    assert [(call["toolName"], call["input"]) for call in seen["calls"]] == [("get_weather", {"city": "Paris"})]
    assert seen["before"]["status"] == ("error" if size else "ready")
    after = seen["after"]
    assert (after["status"], len(after["messages"])) == ("ready", 2)
    assert [part["type"] for part in parts_of(after)] == ["step-start", "tool-get_weather", "step-start", "text"]
    tool = parts_of(after)[1]
    assert (tool["state"], tool["input"], tool["output"]) == ("output-available", {"city": "Paris"}, {"degrees": 18})
    assert '{"degrees":18}' in parts_of(after)[3]["text"]
    newest = stack.client(1).get("/jobs", params={"limit": 1}).json()["jobs"][0]["id"]
    assert parts_of(after)[3]["text"] == stack.client(1).get(f"/jobs/{newest}").json()["text"]


@pytest.mark.slow
def test_chat_that_waits_for_its_turn(stack: Stack) -> None:
    """While its job waits, the chat is told why in transient parts, which its message does not keep."""
    spool = {"conversation": {"id": "ai node"}}
    before = stack.client().post("/jobs", json={"prompt": "x", "params": ENDLESS, **spool}).json()["id"]
    release = f"{stack.webs[0].url}/jobs/{before}/cancel"
    seen = node(stack, "waits", {"params": FAST, "spool": spool}, release=release)
    assert (seen["status"], seen.get("error")) == ("ready", None)
    assert seen["data"][0]["data"]["waiting_for"] == {"reason": "conversation", "job": before}
    assert [part["type"] for part in parts_of(seen)] == ["step-start", "text"]
    assert parts_of(seen)[1]["text"] == job_of(stack, seen)["text"]
