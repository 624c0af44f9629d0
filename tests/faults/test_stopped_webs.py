"""Webs that stand still or stop: found out within 20 s by their own side, and nothing that was sent is lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, let_pass
from tests.faults.measured import measured
from tests.faults.vitals import processes_of
from tests.loopback import NO_CERTIFICATES
from tests.stack import ROOT, Process, free_port, running_stack, wait_for

FOUND_OUT_S = 20.0


@pytest.mark.slow
def test_process_of_a_web_that_stands_still(directory: Path) -> None:
    """One of two processes is stopped: its readers go on elsewhere, new requests are answered by the other all along,
    and another process takes its place."""
    with running_stack(directory, webs=1, workers=1, WEB_PROCESSES=2) as stack:
        web, jobs = stack.webs[0], Jobs(stack)
        job = jobs.submit(tokens=1000, rate=25)
        with Crowd([web.url]) as crowd:
            readers = [crowd.follow(job, "sse", within_s=90) for _ in range(20)]
            jobs.wait_for_entries([job], 10)
            stopped = processes_of(web)[0]
            os.kill(stopped, signal.SIGSTOP)
            began = time.monotonic()
            asked = Counter[str]()
            while stopped in processes_of(web):
                with httpx.Client(verify=NO_CERTIFICATES) as client:
                    try:
                        asked[str(client.get(f"{web.url}/livez", timeout=FOUND_OUT_S).status_code)] += 1
                    except httpx.HTTPError as exc:
                        asked[type(exc).__name__] += 1
                assert time.monotonic() - began < FOUND_OUT_S
                let_pass(0.1)
            found_s = time.monotonic() - began
            wait_for(lambda: len(processes_of(web)) == 2, "another one is there", 15)
            for reader in readers:
                reader.wait(90)
            assert jobs.violations(readers) == []
        assert set(asked) == {"200"}
        measured("web: one process stopped", found_out_s=round(found_s, 1), answers=dict(asked))


@pytest.mark.slow
def test_web_that_is_paused_as_a_whole(directory: Path) -> None:
    """A pause of everything for longer than that is no failure of its processes: they go on."""
    with running_stack(directory, webs=1, workers=0, WEB_PROCESSES=2) as stack:
        web = stack.webs[0]
        served = sorted(processes_of(web))
        web.pause()
        let_pass(18)
        web.resume()
        let_pass(3)
        assert sorted(processes_of(web)) == served
        assert web.is_ready()


@pytest.mark.slow
def test_web_of_spool_run_that_stands_still(directory: Path) -> None:
    """The supervisor of ``spool run`` finds out that the whole web is stopped, and starts it again."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("SPOOL_")}
    env |= {"SPOOL_PORT": str(port), "SPOOL_DATA_DIR": str(directory / "data"), "SPOOL_WORKER_PROCESSES": "1"}
    env |= {"PYTHONPATH": str(ROOT), "SPOOL_WEB_PROCESSES": "1"}
    everything = Process("run", [sys.executable, "-m", "spool", "run"], env, directory)

    def pid_of_web() -> int | None:
        lines = everything.output.read_text(errors="replace").splitlines()
        found = [line for line in lines if "web started, process " in line]
        return int(found[-1].rsplit(" ", 1)[1]) if found else None

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2, verify=NO_CERTIFICATES).status_code == 200
        except httpx.HTTPError:
            return False

    everything.start()
    try:
        wait_for(is_ready, "spool run serves", 60)
        wait_for(lambda: "Spool is ready" in everything.output.read_text(errors="replace"), "it says so", 20)
        stopped = pid_of_web()
        assert stopped is not None
        os.killpg(stopped, signal.SIGSTOP)
        began = time.monotonic()
        wait_for(lambda: pid_of_web() != stopped, "the web is started again", FOUND_OUT_S)
        found_s = time.monotonic() - began
        wait_for(is_ready, "it serves again", 30)
        measured("web: stopped as a whole, spool run", found_out_s=round(found_s, 1))
        assert everything.stop(30) == 0
    finally:
        if everything.running:
            everything.stop(30)


@pytest.mark.slow
def test_posts_over_kept_connections_to_a_web_that_stops(directory: Path) -> None:
    """Every request that was sent over a connection which the web had kept is answered, and every job that was accepted
    is there; the connections close after an answer that says so."""
    with running_stack(directory, webs=2, workers=1, DRAIN_S=4) as stack:
        web, told, clients = stack.webs[0], Counter[str](), 40
        accepted: list[str] = []
        over = threading.Event()

        def post() -> None:
            with httpx.Client(base_url=web.url, timeout=20, verify=NO_CERTIFICATES) as client:
                while not over.is_set():
                    try:
                        answer = client.post("/jobs", json={"prompt": "x", "params": {"tokens": 1}})
                    except httpx.ConnectError:
                        told["refused before it was sent"] += 1
                        return
                    except httpx.HTTPError as exc:
                        told[type(exc).__name__] += 1
                        return
                    told[str(answer.status_code)] += 1
                    if answer.status_code == 202:
                        accepted.append(answer.json()["id"])
                    time.sleep(0.05)

        posting = [threading.Thread(target=post) for _ in range(clients)]
        for thread in posting:
            thread.start()
        wait_for(lambda: told["202"] > clients, "jobs are accepted", 30)
        assert web.stop(20) == 0
        over.set()
        for thread in posting:
            thread.join(30)
        assert set(told) == {"202", "refused before it was sent"}, told
        with stack.client(1) as client:
            assert {client.get(f"/jobs/{job}").status_code for job in accepted} == {200}
        measured("web: stops with POSTs on kept connections", answers=dict(told))
