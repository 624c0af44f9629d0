"""The keeper: lost leases, passed deadlines, jobs that nobody reads, expired jobs, and what to ring for."""

from __future__ import annotations

import logging

import pytest

from spool.errors import StoreUnavailable
from spool.jobs.job import OnDisconnect, OnWorkerLoss, Status
from spool.jobs.keeper import Keeper, Round
from spool.jobs.origin import Origin
from spool.jobs.scripts import script
from spool.jobs.shards import Shard
from spool.keys import job as job_key
from spool.keys import log as log_key
from spool.keys import prefix
from spool.redis.link import RedisLink
from spool.tracing import tracing
from tests.by_hand import OWNER, HandWorker, age, keep, kinds_of, record, store_of, submit
from tests.trace_collector import running_collector


def status_and_code(link: RedisLink, job_id: str) -> tuple[Status, str | None]:
    """Where a job is, and the code of its error."""
    job = store_of(link).look(job_id, OWNER)
    return job.status, job.error["code"] if job.error else None


def test_lost_lease_is_retried(link: RedisLink) -> None:
    """A job whose lease ran out is queued again, and its worker's fence is worth nothing."""
    job = submit(link)
    worker = HandWorker(link)
    claim = worker.take()
    age(link, job.id, leased_until_ms=1)
    assert keep(link) == [1, 0, 1, 0, 0, 0]
    assert status_and_code(link, job.id) == (Status.QUEUED, None)
    assert worker.beat(claim) == [b"unclaimed"]
    assert worker.claims.adopt(claim) == b"lost"
    assert worker.take().job.attempt == 2


def test_lease_that_holds_is_left_alone(link: RedisLink) -> None:
    """A job whose lease has not run out is nobody else's business."""
    job = submit(link)
    HandWorker(link).take()
    assert keep(link) == [0, 0, 0, 0, 0, 0]
    assert status_and_code(link, job.id) == (Status.RUNNING, None)


def test_jobs_of_a_dead_worker_need_not_wait(link: RedisLink) -> None:
    """Once the death of a worker is known, the keeper takes over its jobs, and no others."""
    count = 250
    jobs = [submit(link) for _ in range(count + 1)]
    dead, alive = HandWorker(link, name="host:1:p-a"), HandWorker(link, name="host:2:p-b")
    for _ in range(count):
        dead.take()
    last = alive.take().job.id
    dead.beat()
    assert alive.claims.end_leases_of("host:3:p-c") == 0
    assert alive.claims.end_leases_of("host:1:p-a") == count
    assert link.call("ZSCORE", f"{prefix(0)}workers", "host:1:p-a") is None
    # Also right after a restart, when other leases get time.
    link.call("HSET", f"{prefix(0)}keeper", "run_id", "another")
    taken_over = [(keep(link, lease_ms=10_000, patient=True) or [0] * 6)[2] for _ in range(2)]
    assert sum(taken_over) == count
    found = {job.id: status_and_code(link, job.id)[0] for job in jobs}
    assert [job_id for job_id, status in found.items() if status != Status.QUEUED] == [last]


def test_damaged_indexes_do_not_stop_a_takeover(link: RedisLink) -> None:
    """An index, or a record, of another type is passed over."""
    worker = HandWorker(link, name="host:1:p-a")
    jobs = [submit(link) for _ in range(2)]
    for _ in jobs:
        worker.take()
    link.call("SET", job_key(jobs[0].id), "x")
    link.call("SADD", f"{prefix(0)}models", "broken")
    link.call("SET", f"{prefix(0)}running:broken", "x")
    assert worker.claims.end_leases_of("host:1:p-a") == 1
    link.call("DEL", f"{prefix(0)}models")
    link.call("SET", f"{prefix(0)}models", "x")
    assert worker.claims.end_leases_of("host:1:p-a") == 0


def test_lost_leases_end_after_the_last_attempt(link: RedisLink) -> None:
    """A job that takes its worker with it each time ends ``failed`` after the last attempt."""
    job = submit(link)
    worker = HandWorker(link)
    for wanted, expected in (("any", Status.QUEUED), ("any", Status.QUEUED), ("apart", Status.FAILED)):
        assert worker.claim(wanted=wanted) is not None
        age(link, job.id, leased_until_ms=1)
        keep(link, max_attempts=3)
        assert store_of(link).look(job.id, OWNER).status == expected
    assert status_and_code(link, job.id) == (Status.FAILED, "attempts_exhausted")
    assert kinds_of(link, job.id) == ["started", "restarted", "restarted", "failed"]


def test_lost_lease_of_a_job_that_may_not_begin_anew(link: RedisLink) -> None:
    """A job that has spoken and may not begin anew ends ``failed`` with its worker."""
    job = submit(link, on_worker_loss=OnWorkerLoss.FAIL)
    worker = HandWorker(link)
    worker.say(worker.take(), "spoken")
    age(link, job.id, leased_until_ms=1)
    assert keep(link) == [0, 0, 1, 0, 0, 0]
    assert status_and_code(link, job.id) == (Status.FAILED, "worker_lost")


def test_lost_lease_of_a_cancelled_job(link: RedisLink) -> None:
    """A job whose cancel was asked for ends ``cancelled`` when its worker is dead."""
    job = submit(link)
    HandWorker(link).take()
    store_of(link).cancel(job.id, OWNER)
    age(link, job.id, leased_until_ms=1)
    keep(link)
    assert status_and_code(link, job.id) == (Status.CANCELLED, None)


def test_deadline_of_a_queued_job(link: RedisLink) -> None:
    """A queued job whose deadline passes ends, with no worker anywhere."""
    job = submit(link)
    age(link, job.id, deadline_ms=1)
    keep(link)
    assert status_and_code(link, job.id) == (Status.FAILED, "deadline_exceeded")
    assert kinds_of(link, job.id) == ["failed"]


def test_deadline_of_a_running_job(link: RedisLink) -> None:
    """A running job whose deadline passes ends although its lease holds; its worker is told."""
    job = submit(link)
    worker = HandWorker(link)
    claim = worker.take()
    age(link, job.id, deadline_ms=1)
    keep(link)
    assert status_and_code(link, job.id) == (Status.FAILED, "deadline_exceeded")
    assert worker.append(claim, 2, [b"x"]) == b"lost"


def test_deadline_is_judged_at_once(link: RedisLink) -> None:
    """Deadlines need no patience: they were on Redis's clock all along."""
    job = submit(link)
    age(link, job.id, deadline_ms=1)
    reply = keep(link, lease_ms=60_000, patient=True)
    assert reply is not None
    assert reply[5] == 1
    assert status_and_code(link, job.id) == (Status.FAILED, "deadline_exceeded")


def test_deadline_that_a_cancel_comes_before(link: RedisLink) -> None:
    """The cancel was first: the end is ``cancelled``."""
    job = submit(link)
    HandWorker(link).take()
    store_of(link).cancel(job.id, OWNER)
    age(link, job.id, deadline_ms=1)
    keep(link)
    assert status_and_code(link, job.id) == (Status.CANCELLED, None)


def test_start_timeout(link: RedisLink) -> None:
    """A job that no worker begins within the limit of its model ends before its deadline, and says which that was."""
    job = submit(link, start_s=5.0)
    created = int(record(link, job.id)["created_ms"])
    age(link, job.id, created_ms=created - 60_000, start_by_ms=created - 55_000)
    keep(link)
    error = store_of(link).look(job.id, OWNER).error
    assert error is not None
    assert error["code"] == "start_timeout"
    assert "within 5 s, the start_s of its model" in error["message"]


def test_wait_as_long_as_the_job_itself(link: RedisLink) -> None:
    """Without such a limit a job waits for its first attempt until its own deadline, however far that is."""
    stored = record(link, submit(link, timeout_s=604_800.0).id)
    assert stored["start_by_ms"] == stored["deadline_ms"]
    assert int(stored["deadline_ms"]) - int(stored["created_ms"]) == 604_800_000


def test_round_goes_on_while_there_is_more(link: RedisLink) -> None:
    """Many jobs with one deadline end in one round, in calls that are bounded each."""
    jobs = [submit(link) for _ in range(120)]
    for job in jobs:
        age(link, job.id, deadline_ms=1)
    pauses: list[float] = []
    found = Keeper(Shard(0, link), lambda: None, lease_s=10, max_attempts=3).beat(pauses.append)
    assert found is not None
    assert found.overdue == 120
    assert len(pauses) >= 4
    assert link.call("ZCARD", f"{prefix(0)}deadlines") == 0


def test_round_costs_nothing_for_models_that_were(link: RedisLink) -> None:
    """A model whose jobs have all ended is forgotten by the keeper, and known again with the next submit."""
    worker = HandWorker(link)
    submit(link)
    worker.finish(worker.take())
    keep(link)
    assert link.call("SCARD", f"{prefix(0)}models") == 0
    submit(link)
    assert keep(link)[:1] == [1]  # type: ignore[index]


def test_lock_that_never_ends_stops_no_keeper(link: RedisLink) -> None:
    """A lock without an expiry, which no keeper takes, is no lock."""
    for lock in (("SET", f"{prefix(0)}keeper:lock", "x"), ("RPUSH", f"{prefix(0)}keeper:lock", "x")):
        link.pipeline([("DEL", f"{prefix(0)}keeper:lock"), lock])
        assert Keeper(Shard(0, link), lambda: None, lease_s=10, max_attempts=3).beat() is not None


def test_start_timeout_after_the_start(link: RedisLink) -> None:
    """The time to begin no longer counts once a job has begun, nor when it is queued again."""
    job = submit(link, start_s=5.0)
    worker = HandWorker(link)
    claim = worker.take()
    age(link, job.id, start_by_ms=1)
    keep(link)
    worker.claims.hand_back(job.id, claim.fence, counts=False)
    keep(link)
    assert status_and_code(link, job.id) == (Status.QUEUED, None)


def test_patience_after_a_restart_of_redis(link: RedisLink) -> None:
    """On a Redis that is another than at the last beat, nobody's lease is judged for the length of one."""
    job = submit(link)
    HandWorker(link).take()
    keep(link)
    age(link, job.id, leased_until_ms=1)
    link.call("HSET", f"{prefix(0)}keeper", "run_id", "another")
    assert keep(link, lease_ms=60_000, patient=True) == [0, 0, 0, 0, 0, 1]
    assert status_and_code(link, job.id) == (Status.RUNNING, None)
    assert keep(link, lease_ms=60_000, patient=True) == [0, 0, 0, 0, 0, 1]


def test_ends_that_no_worker_logs(
    link: RedisLink, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """What scripts do to a job, the keeper's process logs with the request's id, once: a lost worker, a cancel, an
    end at the deadline."""
    keep(link)
    lost, cancelled, late = (submit(link, origin=Origin(name)) for name in ("r-lost", "r-cancelled", "r-late"))
    HandWorker(link).take_job(lost.id)
    store_of(link).cancel(cancelled.id, OWNER)
    age(link, lost.id, leased_until_ms=1)
    age(link, late.id, deadline_ms=1)
    link.call("DEL", f"{prefix(0)}keeper:lock")
    with caplog.at_level(logging.INFO, "spool.event"):
        Keeper(Shard(0, link), lambda: None, lease_s=60, max_attempts=3).beat()
    told = [line for line in capsys.readouterr().err.splitlines() if "request_id" in line]
    shown = [next(name for name in ("r-lost", "r-cancelled", "r-late") if name in line) for line in told]
    assert sorted(shown) == ["r-cancelled", "r-late", "r-lost"]
    assert "deadline_exceeded" in told[shown.index("r-late")]
    assert "worker_lost" in told[shown.index("r-lost")]
    assert link.call("EXISTS", f"{prefix(0)}told") == 0


def test_spans_of_what_no_worker_ends(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost attempt has a span from its claim to the loss, and a job that ends in the queue one of its end."""
    keep(link)
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    lost, cancelled = (submit(link, origin=Origin("r", f"00-{trace}-{parent}-01")) for _ in range(2))
    HandWorker(link).take_job(lost.id)
    claimed_ms = int(record(link, lost.id)["started_ms"])
    store_of(link).cancel(cancelled.id, OWNER)
    age(link, lost.id, leased_until_ms=1)
    link.call("DEL", f"{prefix(0)}keeper:lock")
    with running_collector() as collector:
        for name, value in collector.environ.items():
            monkeypatch.setenv(name, value)
        tracing.start("worker", "host/worker")
        Keeper(Shard(0, link), lambda: None, lease_s=60, max_attempts=3).beat()
        tracing.stop()
        spans = {span.attributes["spool.job.id"]: span for span in collector.spans}
    assert {(span.trace, span.parent) for span in spans.values()} == {(trace, parent)}
    assert (spans[lost.id].name, spans[lost.id].attributes["spool.outcome"]) == ("attempt", "lost")
    assert spans[lost.id].begin == claimed_ms * 10**6
    assert spans[lost.id].error == "worker_lost"
    assert (spans[cancelled.id].name, spans[cancelled.id].attributes["spool.outcome"]) == ("end", "cancelled")


def test_patience_after_a_gap_in_the_beat(link: RedisLink) -> None:
    """After a time in which nobody kept, nobody's lease is judged for the length of one."""
    job = submit(link)
    HandWorker(link).take()
    keep(link)
    age(link, job.id, leased_until_ms=1)
    link.call("HINCRBY", f"{prefix(0)}keeper", "beat_ms", -600_000)
    assert keep(link, lease_ms=60_000, patient=True) == [0, 0, 0, 0, 0, 1]
    link.call("HSET", f"{prefix(0)}keeper", "patient_until_ms", 1)
    assert keep(link, lease_ms=60_000, patient=True) == [1, 0, 1, 0, 0, 0]


def test_one_keeper_at_a_time(link: RedisLink) -> None:
    """While another process keeps the shard, a round does nothing; the one that keeps it may go on."""
    assert link.run(script("keep"), 0, 1000, 3, 200, 60_000, "one") is not None
    assert link.run(script("keep"), 0, 1000, 3, 200, 60_000, "other") is None
    assert link.run(script("keep"), 0, 1000, 3, 200, 60_000, "one") is not None


def test_unread_job_is_cancelled(link: RedisLink) -> None:
    """A job that is to end with its last reader ends when nobody has read it for a grace."""
    queued = submit(link, on_disconnect=OnDisconnect.CANCEL)
    link.call("ZADD", f"{prefix(0)}watched", 1, queued.id)
    keep(link)
    assert status_and_code(link, queued.id) == (Status.CANCELLED, None)
    assert link.call("ZCARD", f"{prefix(0)}watched") == 0


def test_unread_job_that_runs_is_flagged(link: RedisLink) -> None:
    """A running job that nobody reads is cancelled as its owner would do it."""
    running = submit(link, on_disconnect=OnDisconnect.CANCEL)
    worker = HandWorker(link)
    claim = worker.take()
    link.call("ZADD", f"{prefix(0)}watched", 1, running.id)
    keep(link)
    assert worker.append(claim, 2, [b"x"]) == b"cancelled"


def test_read_job_goes_on(link: RedisLink) -> None:
    """A reader on any instance keeps a watched job alive; saying so of a job that is not watched does nothing."""
    watched, other = submit(link, on_disconnect=OnDisconnect.CANCEL), submit(link)
    link.call("ZADD", f"{prefix(0)}watched", 1, watched.id)
    link.run(script("watch"), 0, 60_000, watched.id, other.id)
    keep(link)
    assert status_and_code(link, watched.id) == (Status.QUEUED, None)
    assert link.call("ZRANGE", f"{prefix(0)}watched", 0, -1) == [watched.id.encode()]


def test_expired_job_leaves_its_owners_list(link: RedisLink) -> None:
    """A job whose keys have expired is taken from its owner's list."""
    store = store_of(link)
    job, kept = submit(link), submit(link)
    store.cancel(job.id, OWNER)
    store.cancel(kept.id, OWNER)
    link.call("ZADD", f"{prefix(0)}kept", 1, f"{OWNER} {job.id}")
    keep(link)
    assert link.call("ZRANGE", f"{prefix(0)}owner:{OWNER}", 0, -1) == [kept.id.encode()]
    assert link.call("ZCARD", f"{prefix(0)}kept") == 1


def test_stale_indexes_are_cleared(link: RedisLink) -> None:
    """Jobs that Redis lost leave the keeper's indexes."""
    running, queued = submit(link), submit(link)
    HandWorker(link).take()
    age(link, running.id, leased_until_ms=1, deadline_ms=1)
    age(link, queued.id, deadline_ms=1)
    link.call("DEL", job_key(running.id), job_key(queued.id))
    keep(link)
    assert link.call("ZCARD", f"{prefix(0)}running:demo") == 0
    assert link.call("ZCARD", f"{prefix(0)}deadlines") == 0


def test_round_counts_what_waits_and_what_is_free(link: RedisLink) -> None:
    """A round tells how many jobs wait over all models, and how many slots living workers have."""
    submit(link)
    submit(link, model="other")
    HandWorker(link, name="one").beat(free=3)
    HandWorker(link, name="two").beat(free=4)
    HandWorker(link, name="dead").beat(free=50)
    link.call("ZADD", f"{prefix(0)}workers", 1, "dead")
    assert keep(link) == [2, 7, 0, 0, 0, 0]
    assert link.call("HLEN", f"{prefix(0)}slots") == 2


def test_bell_rings_once_per_job_and_free_slot(link: RedisLink) -> None:
    """A beat rings for each job that waits and each slot that is free, whichever is fewer."""
    for _ in range(5):
        submit(link)
    rung: list[None] = []
    keeper = Keeper(Shard(0, link), lambda: rung.append(None), lease_s=10, max_attempts=3)
    HandWorker(link).beat(free=3)
    assert keeper.beat() == Round(pending=5, free=3, taken_over=0, overdue=0, broken=0, patient=True)
    assert len(rung) == 3
    other = Keeper(Shard(0, link), lambda: rung.append(None), lease_s=10, max_attempts=3)
    assert other.beat() is None
    assert len(rung) == 3


def test_keeper_waits_out_trouble() -> None:
    """A keeper goes on beating when Redis is away."""
    beats: list[float] = []

    class Away(RedisLink):
        def run(self, *_: object) -> None:
            raise StoreUnavailable("away")

    keeper = Keeper(Shard(0, Away("unix:///nowhere")), lambda: None, lease_s=10, max_attempts=3)
    keeper.run(beats.append, lambda: len(beats) == 3)
    assert len(beats) == 3


def test_ended_job_keeps_no_place_anywhere(link: RedisLink) -> None:
    """Whatever ended a job, it is in no index of work any more."""
    worker = HandWorker(link)
    ends = [
        lambda job_id: store_of(link).cancel(job_id, OWNER),
        lambda job_id: (age(link, job_id, deadline_ms=1), keep(link)),
        lambda _job_id: worker.finish(worker.take()),
    ]
    for end in ends:
        job = submit(link, on_disconnect=OnDisconnect.CANCEL)
        end(job.id)
        assert record(link, job.id)["status"] in ("cancelled", "failed", "succeeded")
        for index in ("pending:demo", "running:demo", "deadlines", "watched"):
            assert link.call("ZCARD", prefix(0) + index) == 0


def test_broken_log_stops_no_other_job(link: RedisLink) -> None:
    """A job whose log is something else ends all the same, and so do those behind it."""
    jobs = [submit(link) for _ in range(3)]
    for job in jobs:
        age(link, job.id, deadline_ms=1)
    link.call("SET", log_key(jobs[0].id), "no log")
    keep(link)
    for job in jobs:
        assert status_and_code(link, job.id) == (Status.FAILED, "deadline_exceeded")


def test_broken_record_ends_alone(link: RedisLink) -> None:
    """A job whose record is damaged ends, named in a notice; those behind it are handled as ever."""
    broken, sound = submit(link), submit(link)
    for job in (broken, sound):
        age(link, job.id, deadline_ms=1)
    link.call("HDEL", job_key(broken.id), "last")
    reply = keep(link, lease_ms=60_000, patient=True)
    assert reply is not None
    assert reply[3:5] == [1, 0]
    assert status_and_code(link, sound.id) == (Status.FAILED, "deadline_exceeded")
    assert status_and_code(link, broken.id) == (Status.FAILED, "record_damaged")
    assert kinds_of(link, broken.id) == ["failed"]


def test_unread_job_while_leases_are_not_judged(link: RedisLink) -> None:
    """After a gap in the beat those who read could not say so either: nothing is cancelled for it yet."""
    job = submit(link, on_disconnect=OnDisconnect.CANCEL)
    link.call("ZADD", f"{prefix(0)}watched", 1, job.id)
    assert keep(link, lease_ms=60_000, patient=True)[5] == 1  # type: ignore[index]
    assert status_and_code(link, job.id)[0] is Status.QUEUED
    keep(link)
    assert status_and_code(link, job.id)[0] is Status.CANCELLED
