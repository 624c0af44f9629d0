"""Redis answers, and refuses: a replica, full, without room for clients, loading its file, with another password."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.asking import BODY, ask, not_refused, reads, slower_than, submit, writes
from tests.faults.attached import attach, figures, resumed
from tests.faults.books import check_books, check_processes, job_ids
from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, let_pass
from tests.faults.measured import measured
from tests.stack import Stack, Web, free_port, running_stack, wait_for

LEASE_S = 2
HOLD_S = 4.0
"""Longer than the lease, so that a keeper without patience would take the jobs over."""
BOUND_S = 12
SUBMITS = [("POST", "/jobs"), ("POST", "/batches")]
Mend = Callable[[], object]


def replica(stack: Stack) -> Mend:
    """READONLY: the failover that has just happened. Its primary does not exist."""
    stack.redis.link.call("REPLICAOF", "127.0.0.1", free_port())
    return lambda: stack.redis.link.call("REPLICAOF", "NO", "ONE")


def stale_replica(stack: Stack) -> Mend:
    """MASTERDOWN: one that does not serve what may be old, either."""
    stack.redis.link.call("CONFIG", "SET", "replica-serve-stale-data", "no")
    return replica(stack)


def without_room(stack: Stack) -> Mend:
    """All connections closed, and ``max number of clients reached`` for new ones."""
    return _config(stack, "maxclients", "1", "10000")


def other_password(stack: Stack) -> Mend:
    """NOAUTH for whoever connects."""
    return _config(stack, "requirepass", "not-told-to-anybody", "")


def loading(stack: Stack) -> Mend:
    """LOADING: restarted with a file that takes seconds to load. It looks up from it once in 1,024 commands."""
    for start in range(0, 60 * 1024, 10 * 1024):
        stack.redis.link.pipeline([("SET", f"filler:{start + number}", "x") for number in range(10 * 1024)])
    argv = list(stack.redis.argv)
    stack.redis.argv += ["--key-load-delay", "50"]
    stack.redis.kill()
    stack.redis.start()
    stack.redis.argv = argv
    return lambda: wait_for(stack.redis.is_ready, "Redis has loaded its file", 60)


def _config(stack: Stack, name: str, value: str, normal: str) -> Mend:
    link = stack.redis.link
    link.call("CONFIG", "SET", name, value)
    for kind in ("normal", "pubsub"):
        # All but the one that asks, by which it is mended.
        link.call("CLIENT", "KILL", "TYPE", kind)
    return lambda: link.call("CONFIG", "SET", name, normal)


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to refuse. ``serves``: what only reads goes on."""

    begin: Callable[[Stack], Mend]
    serves: bool = False
    hold_s: float = HOLD_S


FAULTS = [
    Fault(replica, serves=True),
    Fault(stale_replica),
    Fault(without_room),
    Fault(other_password),
    Fault(loading, hold_s=0.0),
]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.begin.__name__)
def test_refuses(directory: Path, fault: Fault) -> None:
    """Submits get 503 and leave nothing behind, no process ends, streams stay, and all goes on when it is over."""
    with (
        running_stack(directory, aof=True, LEASE_S=LEASE_S) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs, web = Jobs(stack), stack.webs[0]
        processes = [*stack.webs, *stack.workers]
        pids = [process.pid for process in processes]
        ids = [jobs.submit(f"refused {n}", tokens=150, rate=15) for n in range(3)]
        readers = attach(crowd, ids)
        jobs.wait_for_entries(ids, 15)
        mend = fault.begin(stack)
        refused = ask(web, SUBMITS if fault.serves else [*reads(ids[0]), *writes(ids[0])], times=2)
        served = ask(web, reads(ids[0])[:4]) if fault.serves else []
        alive = ask(web, [("GET", "/livez")], times=5)
        let_pass(fault.hold_s)
        refused += ask(web, SUBMITS) if fault.hold_s else []
        mend()
        back = time.monotonic()
        left = job_ids(stack)
        wait_for(lambda: submit_is_accepted(web), "a submit is accepted", 10)
        accepts_s = time.monotonic() - back
        late = jobs.submit("after it", tokens=5, rate=0)
        jobs.wait_for_end([late], within_s=15)
        runs_s = time.monotonic() - back
        assert not_refused(refused) == []
        assert slower_than(refused + served, BOUND_S) + slower_than(alive, 4) == []
        assert {one.status for one in served + alive} == {200}
        assert left == set(ids), "what was refused is there"
        jobs.wait_for_end()
        assert crowd.unfinished(20) == []
        assert jobs.violations(crowd.followings) == []
        assert check_books(stack) == []
        assert set(jobs.fields(ids, "attempt")) == {"1"}
        assert [process.pid for process in processes] == pids
        assert check_processes(stack) == []
        measured(
            f"Redis refuses: {fault.begin.__name__.replace('_', ' ')}",
            accepts_again_s=round(accepts_s, 2),
            runs_again_s=round(runs_s, 2),
            half_written=0,
            lost=0,
            doubled=0,
            **figures(1, resumed(readers, back)),
        )


def submit_is_accepted(web: Web) -> bool:
    """Whether one is."""
    return submit(web, **BODY).status == 202


@pytest.mark.slow
def test_wrong_password(directory: Path) -> None:
    """A web with a wrong password lives and is not ready; nobody is told the password."""
    wrong = "wrong-and-secret"
    with running_stack(directory, webs=2, workers=0) as stack:
        stack.redis.link.call("CONFIG", "SET", "requirepass", "right")
        web = stack.webs[1]
        web.stop()
        web.env = {**web.env, "SPOOL_REDIS_URL": f"unix://:{wrong}@{stack.redis.socket_path}"}
        web.start()
        wait_for(lambda: web.output.read_text().count("redis_away") > 0, "it has tried")
        answers = ask(web, [*SUBMITS, ("GET", "/readyz"), ("GET", "/jobs")])
        assert not_refused(answers) == []
        assert [one.status for one in ask(web, [("GET", "/livez")])] == [200]
        assert wrong not in web.output.read_text() + "".join(one.body for one in answers)
