"""``/agui`` over the wire, and as AG-UI's own client for Node sees it, unmodified (``node/ag_ui.mjs``)."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

import pytest

from tests.compatible.node_runtime import run_node
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack
from tests.web.problem_shape import assert_problem

NODE_CASES = ("a run", "the result of a tool", "a failure before the first token", "a failure in the run")


def run_of(params: dict[str, Any]) -> dict[str, Any]:
    """The body of a run of its own."""
    message = {"id": "u1", "role": "user", "content": "Hi"}
    props = {"model": "demo", "params": params}
    return {"threadId": "t", "runId": token_hex(8), "messages": [message], "tools": [], "forwardedProps": props}


@pytest.fixture(scope="module")
def in_node(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]]) -> dict[str, str | None]:
    """The outcome of each case: null, or its error."""
    outcomes: dict[str, str | None] = run_node("ag_ui.mjs", stack_and_upstreams[0].webs[0].url)
    assert set(outcomes) == set(NODE_CASES)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("case", NODE_CASES)
def test_node(in_node: dict[str, str | None], case: str) -> None:
    """The client gets what its users expect of it."""
    assert in_node[case] is None, in_node[case]


def test_run_continues_anywhere(stack: Stack) -> None:
    """The same request joins the run at any web, and with the id of an event gets the rest after it."""
    here, there = stack.client(0), stack.client(1)
    body = run_of({"tokens": 5, "rate": 0})
    first = here.post("/agui", json=body)
    joined = there.post("/agui", json=body)
    assert joined.text == first.text
    assert joined.headers["X-Spool-Job"] == first.headers["X-Spool-Job"]
    blocks = first.text.split("\n\n")
    last = blocks[3].split("\n")[0].removeprefix("id: ")
    rest = there.post("/agui", json=body, headers={"Last-Event-ID": last})
    assert rest.text == "\n\n".join(blocks[4:])
    assert first.text.count("TEXT_MESSAGE_CONTENT") == 5


def test_wrong_place(stack: Stack) -> None:
    """A text that is no event's id is 400; an unknown run and a job of another surface are 404."""
    job = stack.client().post("/jobs", json={"prompt": "x", "params": {"rate": 0}}).json()["id"]
    for place, status in (("x", 400), (f"j0-{'0' * 26}/1", 404), (f"{job}/1", 404)):
        answer = stack.client().post("/agui", json=run_of({}), headers={"Last-Event-ID": place})
        assert_problem(answer, status)
