"""The jobs of one fault test: submitted through the webs, looked at in Redis itself while something goes wrong."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from tests.faults.checker import PREFIX, Accepted, check_stack, read_log
from tests.faults.following import Following
from tests.stack import Process, Stack, wait_for

ENDED = frozenset({"succeeded", "failed", "cancelled"})


class Jobs:
    """Submits to the webs in turn, and remembers what got its 202."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._link = stack.redis.link
        self._clients = [stack.client(number) for number in range(len(stack.webs))]
        self._turn = 0
        self.accepted: list[Accepted] = []

    def submit(self, prompt: str = "golden", *, fields: Mapping[str, Any] | None = None, **params: Any) -> str:
        """One job's id. ``params`` shape the demo's answer; ``fields`` are others of the body, of which ``model`` must
        be one where there is an upstream: the default is its model then."""
        body = {"prompt": prompt, "params": params, **(fields or {})}
        self._turn += 1
        answer = self._clients[self._turn % len(self._clients)].post("/jobs", json=body)
        assert answer.status_code == 202, answer.text
        job = str(answer.json()["id"])
        self.accepted.append(Accepted(job, prompt, params, demo=body.get("model", "demo") == "demo"))
        return job

    def submit_many(self, count: int, prompt: str = "golden", **params: Any) -> list[str]:
        """So many batch jobs, each with a prompt of its own and an entry for each token; their ids."""
        bodies = [
            {"prompt": f"{prompt} {n}", "params": params, "coalesce": False, "priority": "batch"} for n in range(count)
        ]
        answers = [self._clients[0].post("/jobs", json=body, timeout=120) for body in bodies]
        assert {answer.status_code for answer in answers} <= {202}
        ids = [str(answer.json()["id"]) for answer in answers]
        self.accepted += [Accepted(job, str(body["prompt"]), params) for job, body in zip(ids, bodies, strict=True)]
        return ids

    def cancel(self, job: str, web: int = 0) -> int:
        """Ask one web for the job's end; the status of its answer."""
        return self._clients[web].post(f"/jobs/{job}/cancel").status_code

    def field(self, job: str, name: str) -> str:
        """One field of its record; empty if it has none."""
        raw = self._link.call("HGET", f"{PREFIX}job:{job}", name)
        return (raw or b"").decode()

    def fields(self, jobs: Iterable[str], name: str) -> list[str]:
        """The same of many, a thousand in a round trip: more may take a busy machine longer than the link waits."""
        commands = [("HGET", f"{PREFIX}job:{job}", name) for job in jobs]
        pages = [self._link.pipeline(commands[at : at + 1000]) for at in range(0, len(commands), 1000)]
        return [(raw or b"").decode() for page in pages for raw in page]

    def wait_for_entries(self, jobs: Iterable[str], count: int, within_s: float = 60.0) -> None:
        """Until each of their logs has so many entries."""
        wait_for(
            lambda: all(int(last or 0) >= count for last in self.fields(jobs, "last")),
            f"{count} entries of each job",
            within_s,
        )

    def wait_for_status(self, jobs: Iterable[str], *status: str, within_s: float = 30.0) -> None:
        """Until each of them is in one of these states."""
        asked = list(jobs)
        try:
            wait_for(lambda: set(self.fields(asked, "status")) <= set(status), f"all jobs {status}", within_s)
        except AssertionError as exc:
            found = zip(asked, self.fields(asked, "status"), strict=True)
            exc.add_note(f"others ('': no record): {[pair for pair in found if pair[1] not in status]}")
            raise

    def wait_for_end(self, jobs: Iterable[str] | None = None, within_s: float = 60.0) -> None:
        """Until each of them, or each that was accepted, has ended."""
        self.wait_for_status([job.id for job in self.accepted] if jobs is None else jobs, *ENDED, within_s=within_s)

    def log(self, job: str) -> list[dict[str, Any]]:
        """Its entries."""
        return [json.loads(raw) for _id, raw in read_log(self._stack, job)]

    def kinds(self, job: str) -> list[str]:
        """The kinds of its entries, neighbours of one kind as one."""
        return [kind for kind, _same in groupby(entry["kind"] for entry in self.log(job))]

    def error(self, job: str) -> dict[str, Any]:
        """What its terminal entry says went wrong."""
        end = self.log(job)[-1]
        assert "error" in end, end
        return dict(end["error"])

    def worker_pid(self, job: str) -> int:
        """The process that runs it; 0 if none does."""
        worker = self.field(job, "worker")
        return int(worker.split(":")[1]) if worker else 0

    def worker_of(self, job: str) -> Process:
        """The worker of the stack that runs it."""
        pid = self.worker_pid(job)
        return next(worker for worker in self._stack.workers if worker.running and worker.pid == pid)

    def running(self, model: str = "demo") -> list[str]:
        """Those of this model that the index lists as running: one small reply, also beside thousands that wait."""
        return [raw.decode() for raw in self._link.call("ZRANGE", f"{PREFIX}running:{model}", 0, -1)]

    def running_on(self, worker: Process, jobs: Iterable[str]) -> list[str]:
        """Those of the jobs that run there."""
        asked = list(jobs)
        rows = self._link.pipeline([("HMGET", f"{PREFIX}job:{job}", "worker", "status") for job in asked])
        there = [status == b"running" and name.split(b":")[1] == b"%d" % worker.pid for name, status in rows]
        return [job for job, is_there in zip(asked, there, strict=True) if is_there]

    def attempts(self, job: str) -> list[float]:
        """When each of its attempts began, in seconds of Redis's clock, which is also this machine's."""
        return [one["at_ms"] / 1000 for one in json.loads(self.field(job, "attempts") or "[]")]

    def violations(self, followings: Iterable[Following] = ()) -> list[str]:
        """What is wrong with anything that was accepted, or any reader."""
        return check_stack(self._stack, self.accepted, followings)


def recoveries(jobs: Jobs, lost: Sequence[str], at: float, attempt: int = 2) -> list[float]:
    """How many seconds after ``at`` (epoch) each of the lost jobs got its attempt of that number."""
    return [jobs.attempts(job)[attempt - 1] - at for job in lost]


def spread(seconds: Iterable[float]) -> dict[str, float]:
    """What is said of a list of times."""
    found = list(seconds)
    return {"runs": len(found), "p50_s": round(statistics.median(found), 2), "max_s": round(max(found), 2)}


def let_pass(seconds: float) -> None:
    """The fault is that time passes."""
    time.sleep(seconds)
