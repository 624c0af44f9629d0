"""Three hosts with compose/three-hosts, of which the one with Redis's primary and the broker loses its power."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose.hosts import Host, missing, three_hosts
from tests.faults.checker import JUMP
from tests.faults.measured import measured
from tests.loopback import NO_CERTIFICATES
from tests.stack import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # `make faults`

ENDS = ("done", "failed", "cancelled")
JOBS = 12


class Reader:
    """Follows one job over SSE through the balancer, and resumes until its end."""

    def __init__(self, url: str, job: str) -> None:
        self.job = job
        self.entries: list[int] = []
        self.kinds: list[str] = []
        self.came: list[float] = []
        self.gaps = 0
        self._url = f"{url}/jobs/{job}/stream"
        self._cursor = 0

    def run(self) -> None:
        """Read to the end. A connection that says nothing for longer than a heartbeat is dead."""
        deadline = time.monotonic() + 150
        with httpx.Client(timeout=httpx.Timeout(5, read=20), verify=NO_CERTIFICATES) as client:
            while not (self.kinds and self.kinds[-1] in ENDS):
                assert time.monotonic() < deadline, (self.job, self.entries[-3:])
                try:
                    self._connection(client)
                except httpx.HTTPError:
                    time.sleep(0.5)

    def longest_silence_s(self) -> float:
        """The longest time between two entries."""
        return max(later - earlier for earlier, later in pairwise(self.came))

    def _connection(self, client: httpx.Client) -> None:
        name = ""
        with client.stream("GET", self._url, params={"after": self._cursor}) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data" and name == "gap":
                    self.gaps += 1
                elif field == "id" and name == "gap":
                    self._cursor = int(value)
                elif field == "data" and "id" in (entry := json.loads(value)):
                    self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        self._cursor = entry["id"]
        self.entries.append(entry["id"])
        self.kinds.append(entry["kind"])
        self.came.append(time.time())


class Submitter:
    """Submits a short job every 0.2 s, each again with the same key until it is accepted."""

    def __init__(self, url: str) -> None:
        self.accepted: dict[str, float] = {}
        self._client = httpx.Client(base_url=url, timeout=5, verify=NO_CERTIFICATES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Submit no more."""
        self._stop.set()
        self._thread.join(60)
        self._client.close()

    def longest_pause_s(self) -> float:
        """The longest time between two accepted jobs."""
        return max(later - earlier for earlier, later in pairwise(self.accepted.values()))

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.2):
            number += 1
            job = self._submit(f"job-{number}")
            if job:
                self.accepted[job] = time.time()

    def _submit(self, key: str) -> str:
        body = {"prompt": "short", "params": {"tokens": 5, "rate": 0}}
        while not self._stop.wait(0.1):
            try:
                answer = self._client.post("/jobs", json=body, headers={"Idempotency-Key": key})
            except httpx.HTTPError:
                continue
            if answer.status_code == 202:
                return str(answer.json()["id"])
        return ""


def is_primary(host: Host) -> bool:
    """Whether a replica follows the host's Redis."""
    info = host.link.call("INFO", "replication")
    return b"role:master" in info and b"connected_slaves:0" not in info


def test_host_with_the_primary_and_the_broker_dies(tmp_path: Path) -> None:
    """The other two hosts go on: Sentinel makes another primary, every job ends once, every reader gets to the end."""
    if reason := missing():
        pytest.skip(reason)
    with three_hosts(tmp_path, SPOOL_LEASE_S="5") as (hosts, url):
        with httpx.Client(base_url=url, timeout=30, verify=NO_CERTIFICATES) as client:
            body = {"prompt": "long", "params": {"tokens": 200, "rate": 10}}
            jobs = [client.post("/jobs", json=body).raise_for_status().json()["id"] for _ in range(JOBS)]
            readers = [Reader(url, job) for job in jobs]
            submitter = Submitter(url)
            with ThreadPoolExecutor(JOBS) as pool:
                running = [pool.submit(reader.run) for reader in readers]
                wait_for(lambda: all(len(reader.entries) > 30 for reader in readers), "every reader has 30 entries")
                killed = hosts[0].die()
                wait_for(lambda: any(is_primary(host) for host in hosts[1:]), "another primary")
                promoted_s = time.time() - killed
                for future in running:
                    future.result()
            submitter.stop()
            lost = check_jobs(client, submitter, killed)
        for reader in readers:
            check_reader(reader)
    measured(
        "one of three hosts dies, with Redis's primary and the broker",
        another_primary_s=round(promoted_s, 1),
        longest_without_a_submit_s=round(submitter.longest_pause_s(), 1),
        longest_silence_s=round(max(reader.longest_silence_s() for reader in readers), 1),
        attempts_restarted=sum(reader.kinds.count("restarted") for reader in readers),
        jobs=JOBS,
        accepted=len(submitter.accepted),
        lost=lost,
    )


def check_jobs(client: httpx.Client, submitter: Submitter, killed: float) -> int:
    """Every accepted job succeeds, but for those accepted in the last moment before the death, of which Redis may
    have lost some: it replicates after it has answered. Returns how many are lost."""
    lost = 0
    for job, accepted in submitter.accepted.items():
        wait_for(lambda job=job: client.get(f"/jobs/{job}").json().get("status") in ("succeeded", 404), f"{job} ended")
        if client.get(f"/jobs/{job}").status_code == 404:
            lost += 1
            assert killed - 2 < accepted < killed + 2, f"{job} was lost, accepted at {accepted - killed:+.2f} s"
    return lost


def check_reader(reader: Reader) -> None:
    """Entries came once and in order, and the last one is the job's end. None is missing: on the other Redis, which may
    lack the last ones, a log goes on with a new attempt after a jump."""
    assert reader.kinds[-1] == "done", reader.kinds[-3:]
    assert reader.gaps == 0
    before = 0
    for entry_id, kind in zip(reader.entries, reader.kinds, strict=True):
        assert entry_id == before + 1 or (kind == "restarted" and entry_id % JUMP == 0 and entry_id > before)
        before = entry_id
