"""Jobs that are held, before their ``not_before`` or until their conversation's turn: none is lost, begins early, runs
twice or out of turn, whatever dies meanwhile; and their readers are told why they wait."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from spool.access.caller import ANONYMOUS
from tests.by_hand import store_of
from tests.faults.aof import Aof
from tests.faults.attached import attach
from tests.faults.books import check_books, check_processes
from tests.faults.checker import golden
from tests.faults.crowd import Crowd
from tests.faults.holds import HeldJobs, hold_keys
from tests.faults.jobs import Jobs, let_pass
from tests.faults.measured import measured
from tests.stack import Stack, running_stack, wait_for

LEASE_S = 4
CONVERSATIONS, TURNS = 5, 5
LATER = 15
STRIKES = (3, 9, 15)
"""A fault strikes when so many of the jobs have ended."""
WAITS = '"waiting_for"'
HELD = '"reason":"not_before"'
ENDS = {
    "/v1/chat/completions": '"finish_reason":"stop"',
    "/v1/responses": '"type":"response.completed"',
    "/ai/chat": '"type":"finish"',
}

Strike = Callable[[Stack, int], None]


def kill_worker(stack: Stack, number: int) -> None:
    """One worker after the other is killed and started again."""
    worker = stack.workers[number % len(stack.workers)]
    worker.kill()
    worker.start()


def kill_web(stack: Stack, number: int) -> None:
    """The same of the webs."""
    web = stack.webs[number % len(stack.webs)]
    web.kill()
    web.start()
    wait_for(web.is_ready, f"{web.name} is ready")


def kill_redis(stack: Stack, number: int) -> None:
    """Redis is killed, is away for a while, and has lost nothing."""
    stack.redis.kill()
    let_pass(0.5 * number)
    stack.redis.start()
    wait_for(stack.redis.is_ready, "Redis answers again")


def rewind_redis(stack: Stack, number: int) -> None:  # noqa: ARG001 - each strike is the same
    """Redis loses its last second."""
    aof = Aof(stack)
    before = aof.size
    let_pass(1.0)
    stack.redis.kill()
    aof.cut(before)
    stack.redis.start()
    wait_for(stack.redis.is_ready, "Redis answers again")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("strike", [kill_worker, kill_web, kill_redis, rewind_redis], ids=lambda one: one.__name__)
def test_held_jobs(directory: Path, strike: Strike) -> None:
    """Held jobs over a fault that strikes three times, with readers on every transport from the beginning."""
    settings = {"LEASE_S": LEASE_S, "MAX_ATTEMPTS": 9}
    with (
        running_stack(directory, aof=True, **settings) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs = Jobs(stack)
        held = HeldJobs(jobs)
        held.submit_later(LATER, first_s=8.0, every_s=0.4, tokens=20, rate=20)
        held.submit_turns(CONVERSATIONS, TURNS, tokens=30, rate=20)
        read = [*list(held.later)[::5], *held.turns[-1]]
        readers = attach(crowd, read)
        for number, count in enumerate(STRIKES):
            wait_for(lambda count=count: held.ended() >= count, f"{count} jobs have ended", 60)  # type: ignore[misc]
            strike(stack, number)
        jobs.wait_for_end(within_s=90)
        assert crowd.unfinished(20) == []
        assert set(jobs.fields(held.all, "status")) == {"succeeded"}
        assert jobs.violations(crowd.followings) == []
        assert held.early() == []
        assert held.out_of_turn() == []
        assert held.wrongly_told(readers) == []
        assert hold_keys(stack) == []
        assert check_books(stack) == []
        assert check_processes(stack) == []
        measured(
            f"held jobs, {strike.__name__} x {len(STRIKES)}",
            jobs=len(held.all), readers=len(readers), told=sum(len(one.queued) for one in readers),
            attempts=sum(map(int, jobs.fields(held.all, "attempt"))), lost=0, early=0, out_of_turn=0,
        )  # fmt: skip


def reading(stack: Stack, path: str, body: dict[str, Any], lines: list[str]) -> Thread:
    """A thread that gathers the lines of a stream."""

    def read() -> None:
        with stack.client().stream("POST", path, json=body) as answer:
            for line in answer.iter_lines():
                lines.append(line)

    thread = Thread(target=read)
    thread.start()
    return thread


def text_of(lines: Sequence[str]) -> str:
    """The text of a stream's deltas, in any of these protocols."""
    said = ""
    for line in lines:
        match json.loads(line.removeprefix("data: ")) if line.startswith("data: {") else {}:
            case {"choices": [{"delta": {"content": str(text)}}]} | {"delta": str(text)}:
                said += text
    return said


@pytest.mark.slow
@pytest.mark.parametrize("strike", [kill_worker, kill_redis], ids=lambda one: one.__name__)
def test_streams_of_other_protocols(directory: Path, strike: Strike) -> None:
    """On ``/v1`` and ``/ai`` a held job's reader is told why it waits, before any text, and gets the whole answer once
    on the same stream, although a worker or Redis dies before the job is due, and after."""
    user = {"role": "user", "content": "x"}
    parts = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}
    requests: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [user], "stream": True},
        "/v1/responses": {"input": "x", "stream": True},
        "/ai/chat": {"id": "q", "messages": [parts]},
    }
    with running_stack(directory, webs=1, workers=1, aof=True, LEASE_S=LEASE_S) as stack:
        due = datetime.now(UTC) + timedelta(seconds=8)
        field = {"not_before": due.isoformat()}
        found: dict[str, list[str]] = {path: [] for path in requests}
        threads = [reading(stack, path, {**body, "spool": field}, found[path]) for path, body in requests.items()]
        wait_for(lambda: all(any(WAITS in line for line in lines) for lines in found.values()), "all are told", 30)
        strike(stack, 0)
        wait_for(lambda: any(text_of(lines) for lines in found.values()), "one has begun", 60)
        strike(stack, 1)
        for thread in threads:
            thread.join(60)
    for path, lines in found.items():
        assert text_of(lines) == golden("x", {}), path
        # After the second strike it may be told to wait for a worker, in the middle of its text.
        assert not text_of(lines[: max(n for n, line in enumerate(lines) if HELD in line)]), path
        assert any(ENDS[path] in line for line in lines), path


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("strike", [kill_worker, kill_redis, rewind_redis], ids=lambda one: one.__name__)
def test_turns_that_continue(directory: Path, strike: Strike) -> None:
    """Turns that continue their conversation, all submitted at once, get every earlier turn with its whole answer, once
    and in order, although a worker or Redis dies while the second and the third answer."""
    with running_stack(directory, aof=True, LEASE_S=LEASE_S, MAX_ATTEMPTS=9) as stack:
        jobs, store = Jobs(stack), store_of(stack.redis.link)
        fields = {"conversation": {"id": "c"}, "continue_from": "conversation"}
        turns = [jobs.submit(f"turn {number}", fields=fields, tokens=50, rate=20) for number in range(5)]
        for number, turn in enumerate(turns[1:3]):
            jobs.wait_for_entries([turn], 20)
            strike(stack, number)
        jobs.wait_for_end(turns)
        assert set(jobs.fields(turns, "status")) == {"succeeded"}
        assert jobs.violations() == []
        answers = [golden(f"turn {number}", {"tokens": 50}) for number in range(5)]
        for number, turn in enumerate(turns):
            earlier = [text for at in range(number) for text in (f"turn {at}", answers[at])]
            messages = store.input_of(turn)["messages"]
            assert [message["content"] for message in messages] == [*earlier, f"turn {number}"]
        assert store.look(turns[-1], ANONYMOUS.owner, with_text=True).text == answers[-1]
        assert hold_keys(stack) == []
