"""``GET /events`` while webs, workers and Redis are killed: a live list is right in the end."""

from __future__ import annotations

import contextlib
import json
import select
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.keys import prefix
from tests.faults.bystander import Bystander
from tests.faults.jobs import Jobs, let_pass
from tests.faults.silent_readers import Request, ask
from tests.stack import Stack, running_stack, wait_for

EVENTS = f"{prefix(0)}events:anonymous"


class LiveList:
    """The jobs as a client of the stream knows them. It reads the list where the stream says that events are
    missing, and after each reconnect resumes at its cursor, at the other web."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.cursor = ""
        self.ids: list[int] = []
        self.known: dict[str, str] = {}
        self.begun, self.over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        turn = 0
        while not self.over.is_set():
            turn += 1
            with contextlib.suppress(httpx.HTTPError):
                self._read(turn % len(self._stack.webs))

    def _read(self, web: int) -> None:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": self.cursor}
        with (
            httpx.Client(base_url=self._stack.webs[web].url, timeout=httpx.Timeout(5, read=20)) as client,
            client.stream("GET", "/events", headers=headers) as answer,
        ):
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    self.cursor = line[4:]
                elif line.startswith("data: "):
                    self._take(json.loads(line[6:]), client)
                if self.over.is_set():
                    return

    def _take(self, message: dict[str, Any], client: httpx.Client) -> None:
        self.begun.set()
        if "kind" in message:
            self.ids.append(message["id"])
        if message.get("kind") == "restarted" or message.get("type") == "gap":
            self.known |= {job["id"]: job["status"] for job in client.get("/jobs?limit=200").json()["jobs"]}
        elif "job" in message:
            self.known[message["job"]["id"]] = message["job"]["status"]

    def close(self) -> None:
        """End it."""
        self.over.set()
        self._thread.join(10)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_list_is_right_after_kills_of_everything(directory: Path) -> None:
    """Webs, a worker and Redis are killed under jobs: the stream resumes, no id comes twice or out of order, and in the
    end the list has every job with its state."""
    with running_stack(directory, webs=2, workers=2, aof=True, LEASE_S=2) as stack:
        jobs, live = Jobs(stack), LiveList(stack)
        assert live.begun.wait(20)
        for step in range(4):
            ids = [jobs.submit(f"{step} {n}", tokens=60, rate=20) for n in range(5)]
            jobs.wait_for_entries(ids, 5)
            if step == 0:
                stack.webs[0].kill()
                stack.webs[0].start()
            elif step == 1:
                stack.workers[0].kill()
                stack.workers[0].start()
            elif step == 2:
                stack.redis.restart(kill=True)
            else:
                stack.webs[1].kill()
                stack.webs[1].start()
            wait_for(stack.webs[0].is_ready, "a web is ready", 60)
            jobs.wait_for_end(within_s=60)
        expected = {job.id: "succeeded" for job in jobs.accepted}
        wait_for(lambda: live.known == expected, "the live list is right", 20)
        live.close()
        assert live.ids == sorted(set(live.ids))


@pytest.mark.slow
def test_open_stream_ends_when_its_events_are_lost(directory: Path) -> None:
    """Where Redis has lost the record of the events, an open stream asks its client to come back instead of staying
    silent; then events are written again."""
    with running_stack(directory, webs=1, workers=1) as stack:
        jobs, live = Jobs(stack), LiveList(stack)
        assert live.begun.wait(20)
        stack.redis.link.call("DEL", EVENTS, f"{EVENTS}:log")
        wait_for(lambda: stack.redis.link.call("EXISTS", EVENTS) == 1, "events are written again", 20)
        job = jobs.submit("x", tokens=2, rate=50)
        wait_for(lambda: live.known.get(job) == "succeeded", "its end is an event", 20)
        live.close()


READERS = 50
"""Each follows one batch of many changes."""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_readers_of_few_events_among_many(directory: Path) -> None:
    """Streams of one batch's events, while other jobs change all the time: a reader of another job hardly notices, for
    an event is decoded once for all of them, and its document is made only where it is sent."""
    with running_stack(directory, webs=2, workers=1) as stack, Bystander(stack) as bystander:
        over = threading.Event()
        submitting = [threading.Thread(target=_submit_until, args=(stack, over)) for _ in range(4)]
        asked = Request("/events?batch=b0-x", headers={"Accept": "text/event-stream"})
        socks = [ask(stack.webs[0].port, asked)]
        for thread in submitting:
            thread.start()
        try:
            bystander.calm(5)
            with bystander.attack():
                socks += [ask(stack.webs[0].port, asked) for _ in range(READERS)]
                let_pass(8)
        finally:
            over.set()
            for thread in submitting:
                thread.join()
        assert len(select.select(socks, [], [], 0)[0]) > READERS / 2, "they are attached"
        for sock in socks:
            sock.close()
        jobs = int(stack.redis.link.call("ZCARD", f"{prefix(0)}owner:anonymous"))
        bystander.report("readers of few events", readers=READERS, jobs=jobs)
        assert bystander.silence_s < 2


def _submit_until(stack: Stack, over: threading.Event) -> None:
    with httpx.Client(base_url=stack.webs[1].url, timeout=60) as client:
        body = {"prompt": "x", "params": {"tokens": 1, "rate": 0, "first_token_s": 0}, "metadata": {"k": "v" * 400}}
        while not over.is_set():
            client.post("/jobs", json=body)
