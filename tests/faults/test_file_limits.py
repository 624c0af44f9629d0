"""Processes that may open hardly any file: what does not fit waits or is refused in words, and all is well after it."""

from __future__ import annotations

import socket
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.upstreams import MODEL
from tests.faults.vitals import broke, open_files, processes_of
from tests.faults.wire import request_head
from tests.scripted_upstream import Call, ScriptedUpstream
from tests.stack import Process, Stack, wait_for

WEB_FILES, CONNECTIONS = 120, 200
WORKER_FILES, JOBS = 50, 80


def limit_files(process: Process, count: int) -> None:
    """Let it open so many files and no more, from its next start on."""
    process.argv = ["sh", "-c", f'ulimit -n {count}; exec "$@"', "sh", *process.argv]


@pytest.mark.slow
def test_web_without_file_descriptors(directory: Path) -> None:
    """More clients than a web may open files: streams stop being taken before that, what is asked on connections that
    are there is answered without an internal error, running streams go on, and once the clients have left, the same
    process serves everybody."""
    stack = Stack(directory, webs=1, workers=1)
    web = stack.webs[0]
    limit_files(web, WEB_FILES)
    try:
        stack.start()
        jobs, client, served = Jobs(stack), stack.client(), processes_of(web)
        job = jobs.submit(tokens=150, rate=25)
        assert client.get("/livez").status_code == 200
        with Crowd([web.url]) as crowd:
            first = [crowd.follow(job, transport) for transport in ("sse", "ndjson", "websocket", "text")]
            wait_for(lambda: all(one.ids or one.text for one in first), "they read")
            request = request_head(f"/jobs/{job}/stream", "127.0.0.1", {"Accept": "text/event-stream"})
            others = [socket.create_connection(("127.0.0.1", web.port), timeout=5) for _ in range(CONNECTIONS)]
            for one in others:
                one.sendall(request)
            asked = Counter[int]()
            while not all(one.finished for one in first):
                for path in ("/livez", "/readyz", f"/jobs/{job}", f"/jobs/{job}/entries?wait=0", "/", "/jobs"):
                    asked[client.get(path).status_code] += 1
                asked[client.post("/jobs", json={"prompt": "x", "params": {"tokens": 1}}).status_code] += 1
            assert set(asked) <= {200, 202, 503}
            most = open_files(web)
            assert jobs.violations(first) == []
            assert sum(one.reconnects for one in first) == 0
            left = time.monotonic()
            for one in others:
                one.close()
            after = crowd.follow(job, "sse").wait(30)
            took_s = time.monotonic() - left
            assert jobs.violations([after]) == []
        assert processes_of(web) == served
        assert broke(web) == []
        measured(
            "web: file descriptors exhausted",
            files=f"{most} of {WEB_FILES}",
            answers=dict(asked),
            recovered_s=round(took_s, 2),
        )
    finally:
        stack.close()


@pytest.mark.slow
def test_worker_without_file_descriptors(directory: Path) -> None:
    """More upstream calls than a worker may open files: what finds none waits for its upstream, visibly, and every job
    is answered by the same process, whatever the refusals."""

    def answers(call: Call) -> None:
        call.begin()
        call.text("Hel")
        call.hold(1.0)
        call.text("lo")
        call.done()

    with ScriptedUpstream(answers) as upstream:
        models = f'[[upstream]]\nname = "u"\nurl = "{upstream.url}"\n[[upstream.model]]\nname = "m"\n'
        (directory / "models.toml").write_text(models)
        stack = Stack(directory, webs=1, workers=1, concurrency=JOBS, MODELS_FILE=directory / "models.toml")
        worker = stack.workers[0]
        limit_files(worker, WORKER_FILES)
        try:
            stack.start()
            jobs, pid = Jobs(stack), worker.pid
            ids = [jobs.submit(f"call {number}", fields=MODEL) for number in range(JOBS)]
            began = time.monotonic()
            jobs.wait_for_end(within_s=60)
            took_s = time.monotonic() - began
            assert Counter(jobs.fields(ids, "status")) == {"succeeded": JOBS}
            # A job that finds no file is handed back to the queue. If that finds none either, its lease ends, as if its
            # worker had died.
            assert set(jobs.fields(ids, "losses")) <= {"0", "1"}
            assert jobs.violations() == []
            again = sum(int(attempt) - 1 for attempt in jobs.fields(ids, "attempt"))
            waits = again + sum(entry["kind"] == "waiting" for job in ids for entry in jobs.log(job))
            assert waits > 0
            assert (worker.running, worker.pid) == (True, pid)
            measured(
                "worker: file descriptors exhausted",
                files=WORKER_FILES,
                jobs=JOBS,
                waits=waits,
                all_done_s=round(took_s, 1),
            )
        finally:
            stack.close()
