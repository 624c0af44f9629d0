"""``/durable`` over the wire, and as Durable Streams' own client for Node sees it (``node/durable_streams.mjs``)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from tests.compatible.node_runtime import run_node
from tests.stack import Stack, running_stack, wait_for
from tests.web.problem_shape import assert_problem
from web.durable_streams.offsets import offset_of

NODE_CASES = (
    "long polling, while it runs",
    "server-sent events, while it runs",
    "the mode that the client chooses",
    "an ended job",
    "a long log, in pages",
    "from an offset",
    "from the end",
    "what there is",
    "it cannot be written",
)


def ended_job(stack: Stack, tokens: int) -> str:
    """The id of a job that has ended."""
    asked = {"prompt": "x", "model": "demo", "params": {"tokens": tokens, "rate": 0}}
    job: str = stack.client().post("/jobs", json=asked).json()["id"]
    wait_for(lambda: stack.client().get(f"/jobs/{job}").json()["status"] == "succeeded", "it has ended", 60)
    return job


@pytest.fixture(scope="module")
def in_node(stack: Stack) -> dict[str, str | None]:
    """The outcome of each case: null, or its error."""
    ended, long = ended_job(stack, 2500), ended_job(stack, 20_000)
    asked = {"prompt": "x", "model": "demo", "params": {"tokens": 200, "rate": 40}}
    running = stack.client().post("/jobs", json=asked).json()["id"]
    outcomes: dict[str, str | None] = run_node("durable_streams.mjs", stack.webs[1].url, running, ended, long)
    assert set(outcomes) == set(NODE_CASES)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("case", NODE_CASES)
def test_node(in_node: dict[str, str | None], case: str) -> None:
    """The client gets what its users expect of it."""
    assert in_node[case] is None, in_node[case]


@pytest.mark.slow
@pytest.mark.parametrize("live", ["sse", "long-poll"])
@pytest.mark.parametrize("is_killed", [False, True], ids=["drains", "killed"])
def test_web_stops(directory: Path, live: str, is_killed: bool) -> None:
    """The client itself resumes at the next web after a drain. A killed one may end its session with an error; the next
    continues after its last offset. Either way each entry comes once."""
    with running_stack(directory, webs=1, workers=1) as stack, ThreadPoolExecutor(1) as pool:
        asked = {"prompt": "x", "model": "demo", "params": {"tokens": 160, "rate": 20}}
        job = stack.client().post("/jobs", json=asked).json()["id"]
        wait_for(lambda: stack.client().get(f"/jobs/{job}").json()["last_entry"] > 5, "it runs")
        reading = pool.submit(run_node, "durable_streams_web_stops.mjs", stack.webs[0].url, job, live)
        wait_for(lambda: stack.client().get(f"/jobs/{job}").json()["last_entry"] > 60, "it was read for a while")
        stack.webs[0].kill() if is_killed else stack.webs[0].stop()
        stack.webs[0].start()
        seen = reading.result(100)
        assert seen["ids"] == list(range(1, 164))
        assert len(seen["errors"]) <= is_killed, seen["errors"]


def test_catch_up(stack: Stack) -> None:
    """Any web gives the same pages; each names the next, and the last says that the stream is closed."""
    job = ended_job(stack, 5)
    first = stack.client(0).get(f"/durable/{job}")
    entries = stack.client(1).get(f"/jobs/{job}/entries").json()["entries"]
    assert first.json() == entries
    assert first.headers["Stream-Next-Offset"] == offset_of(entries[-1]["id"])
    assert (first.headers["Stream-Closed"], first.headers["Stream-Up-To-Date"]) == ("true", "true")
    rest = stack.client(1).get(f"/durable/{job}", params={"offset": offset_of(3)})
    assert rest.json() == entries[3:]
    same = stack.client(1).get(f"/durable/{job}", headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")


def test_end_is_answered_at_once(stack: Stack) -> None:
    """At the end of a log that has ended, a poll is 204 and a stream one event; both say that it is closed."""
    job = ended_job(stack, 1)
    tail = stack.client().head(f"/durable/{job}").headers["Stream-Next-Offset"]
    poll = stack.client().get(f"/durable/{job}", params={"offset": tail, "live": "long-poll"})
    assert (poll.status_code, poll.headers["Stream-Closed"], poll.headers["Stream-Next-Offset"]) == (204, "true", tail)
    assert "Stream-Cursor" not in poll.headers
    events = stack.client().get(f"/durable/{job}", params={"offset": tail, "live": "sse"}).text
    assert orjson.loads(events.split("data: ")[1])["streamClosed"] is True
    now = stack.client().get(f"/durable/{job}", params={"offset": "now"})
    assert (now.json(), now.headers["Stream-Closed"], now.headers["Stream-Next-Offset"]) == ([], "true", tail)


def test_poll_of_a_running_job(stack: Stack) -> None:
    """A poll at the end waits for the next entries, and has a cursor that the next one passes on."""
    asked = {"prompt": "x", "model": "demo", "params": {"tokens": 40, "rate": 20}}
    job = stack.client().post("/jobs", json=asked).json()["id"]
    asked = {"offset": "now", "live": "long-poll"}
    answer = wait_for(
        lambda: (poll := stack.client().get(f"/durable/{job}", params=asked)).status_code == 200 and poll, "an entry"
    )
    assert answer.headers["Stream-Next-Offset"] == offset_of(answer.json()[-1]["id"])
    cursor = answer.headers["Stream-Cursor"]
    following = {**asked, "offset": answer.headers["Stream-Next-Offset"], "cursor": cursor}
    rest = stack.client(1).get(f"/durable/{job}", params=following)
    assert rest.json()[0]["id"] == answer.json()[-1]["id"] + 1
    assert int(rest.headers["Stream-Cursor"]) > int(cursor)
    stack.client().post(f"/jobs/{job}/cancel")


def test_wrong_requests(stack: Stack) -> None:
    """What the protocol does not know is refused, and what is not there is 404."""
    job, client = ended_job(stack, 1), stack.client()
    assert_problem(client.get(f"/durable/{job}?offset=7"), 400)
    assert_problem(client.get(f"/durable/{job}?live=sse"), 400)
    assert_problem(client.get(f"/durable/{job}?offset="), 400)
    assert_problem(client.get(f"/durable/{job}?offset=-1&offset=-1"), 400)
    assert_problem(client.get(f"/durable/{job}?offset=-1&live=x"), 400)
    assert_problem(client.get(f"/durable/{job}?offset={offset_of(10**6)}"), 410)
    assert_problem(client.get(f"/durable/j0-{'0' * 26}"), 404)
    for method in ("PUT", "POST", "DELETE"):
        refused = client.request(method, f"/durable/{job}")
        assert refused.status_code == 405
        assert {"GET", "HEAD"} <= set(refused.headers["Allow"].split(", "))
