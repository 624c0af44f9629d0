"""``/ai/workflow`` as ``WorkflowChatTransport`` itself sees it, unmodified (``node/workflow.mjs``)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.compatible.chats import asked, chunks_of
from tests.compatible.node_runtime import run_node
from tests.stack import Stack
from tests.web.problem_shape import assert_problem

FAST = {"rate": 0}
SLOW = {"tokens": 120, "rate": 40}
ENDLESS = {"tokens": 5000, "rate": 40}


def node(stack: Stack, scenario: str, params: dict[str, Any], **options: Any) -> Any:
    """The result of a scenario of ``node/workflow.mjs``; it resumes at the second web."""
    body = {"model": "demo", "params": params}
    urls = {"url": stack.webs[0].url, "other": stack.webs[1].url}
    return run_node("workflow.mjs", scenario, orjson.dumps({**urls, "body": body, **options}).decode())


def text_of(seen: dict[str, Any]) -> str:
    """The text of the chat's answer, which is one message."""
    assert [message["role"] for message in seen["messages"]] == ["user", "assistant"]
    return "".join([part["text"] for part in seen["messages"][1]["parts"] if part["type"] == "text"])


def job_of(stack: Stack, seen: dict[str, Any]) -> dict[str, Any]:
    """The job of the run."""
    job: dict[str, Any] = stack.client(1).get(f"/jobs/{seen['job']}").json()
    return job


@pytest.mark.slow
def test_whole_answer(stack: Stack) -> None:
    """The transport gets the job's text and asks for no rest; a negative number gets the whole stream again."""
    seen = node(stack, "whole", {"tokens": 5, "rate": 0})
    assert (seen["status"], seen["asked"]) == ("ready", [])
    assert text_of(seen) == job_of(stack, seen)["text"]
    assert (seen["kinds"][0], seen["kinds"][-1], seen["kinds"].count("text-delta")) == ("start", "finish", 5)


@pytest.mark.slow
def test_cut(stack: Stack) -> None:
    """A cut stream continues by itself at another web from its next chunk: no text is lost or doubled."""
    seen = node(stack, "cut", SLOW, bytes=1200)
    assert (seen["status"], seen.get("error"), len(seen["asked"])) == ("ready", None, 1)
    assert seen["asked"][0] > 3
    assert [part["type"] for part in seen["messages"][1]["parts"]] == ["step-start", "text"]
    assert text_of(seen) == job_of(stack, seen)["text"]


@pytest.mark.slow
def test_failure(stack: Stack) -> None:
    """A failed job is the chat's error, once: the transport does not ask again."""
    seen = node(stack, "failure", {"fail_after": 3, **FAST})
    assert (seen["status"], seen["asked"]) == ("error", [])
    assert seen["error"] == job_of(stack, seen)["error"]["message"]


@pytest.mark.slow
def test_cancelled(stack: Stack) -> None:
    """A cancelled job is an abort, and the transport does not ask again."""
    seen = node(stack, "stop", ENDLESS)
    assert (seen["status"], seen["asked"]) == ("ready", [])
    assert job_of(stack, seen)["status"] == "cancelled"


def test_wire(stack: Stack) -> None:
    """Without an id and as text, a chat is answered under the run's id; the rest from each web is the same."""
    here, there = stack.client(0), stack.client(1)
    body = {name: value for name, value in asked("", {"tokens": 5, "rate": 0}).items() if name != "id"}
    answer = here.post("/ai/workflow", content=orjson.dumps(body), headers={"Content-Type": "text/plain"})
    job = answer.headers["x-workflow-run-id"]
    whole = chunks_of(answer.text)
    for client in (here, there):
        rest = client.get(f"/ai/workflow/{job}/stream", params={"startIndex": "4"})
        assert chunks_of(rest.text) == whole[4:]


@pytest.mark.parametrize("index", ["x", "1.5", "9" * 10, ""])
def test_wrong_index(stack: Stack, index: str) -> None:
    """A number that is none is refused by its name."""
    answer = stack.client().get(f"/ai/workflow/j0-{'0' * 26}/stream", params={"startIndex": index})
    assert_problem(answer, 422)
    assert answer.json()["errors"][0]["field"] == "startIndex"


def test_unknown_run(stack: Stack) -> None:
    """An unknown run and a job of another surface are not found."""
    job = stack.client().post("/jobs", json={"prompt": "x", "params": FAST}).json()["id"]
    for run in (job, "j0-" + "0" * 26, "x"):
        assert_problem(stack.client().get(f"/ai/workflow/{run}/stream"), 404)
