"""Claiming, the lease, and giving a job up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spool.errors import UndecodableRecord
from spool.jobs.claims import new_fence
from spool.jobs.entries import Kind
from spool.jobs.job import OnWorkerLoss, Priority, Status
from spool.jobs.scheduling import Conversation, Scheduling
from spool.keys import job as job_key
from spool.keys import prefix
from spool.models.model import DEMO, Model
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, age, kinds_of, log_of, new_job, record, store_of, submit, text_of, tokens

SMALL = Model(name="small", backend="openai", max_running=1)


def test_claim_of_nothing(link: RedisLink) -> None:
    """With nothing queued there is nothing to claim."""
    assert HandWorker(link).claim() is None


def test_claim_begins_the_attempt(link: RedisLink) -> None:
    """A claim brings the job, its input and the id of the next entry; its log begins with ``started``."""
    new = new_job(timeout_s=60.0)
    store_of(link).submit(new, max_queued=1)
    claim = HandWorker(link).take()
    assert (claim.job.id, claim.job.status, claim.job.attempt, claim.first) == (new.id, Status.RUNNING, 1, 2)
    assert (claim.input, claim.prefix) == (new.input, "")
    assert 0 < claim.left_s <= 60
    started = log_of(link, new.id)[0]
    assert (started.kind, dict(started.fields)) == (Kind.STARTED, {"attempt": 1, "model": "demo"})


def test_claim_of_the_only_job(link: RedisLink) -> None:
    """A claim tells whether other jobs may wait that no bell rings for: those in the queue, those at a limit, and the
    next one of its conversation."""
    worker = HandWorker(link)
    for _ in range(2):
        submit(link)
    assert [worker.take().has_more for _ in range(2)] == [True, False]
    submit(link, scheduling=Scheduling(conversation=Conversation("talk")))
    assert worker.take().has_more
    submit(link)
    link.call("SADD", f"{prefix(0)}held", "someone")
    assert worker.take().has_more


def test_claim_twice_with_one_fence(link: RedisLink) -> None:
    """Asking again with the same fence, after a lost answer, gives the same job, and starts it once."""
    submit(link)
    submit(link)
    worker, fence = HandWorker(link), new_fence()
    first, again = worker.claim(fence=fence), worker.claim(fence=fence)
    assert first is not None
    assert again is not None
    assert first.job == again.job
    assert kinds_of(link, first.job.id) == ["started"]


def test_claim_with_a_fence_whose_job_moved_on(link: RedisLink) -> None:
    """A fence that has lost its job gets no other one."""
    submit(link)
    worker, fence = HandWorker(link), new_fence()
    claim = worker.claim(fence=fence)
    assert claim is not None
    worker.claims.hand_back(claim.job.id, fence, counts=False)
    assert worker.claim(fence=fence) is None


def test_claim_order(link: RedisLink) -> None:
    """Retries come first, then interactive jobs, then batch jobs, each in the order of submit."""
    worker = HandWorker(link)
    retried = submit(link, priority=Priority.BATCH)
    claim = worker.take()
    batch = [submit(link, priority=Priority.BATCH) for _ in range(2)]
    interactive = [submit(link) for _ in range(2)]
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    expected = [retried.id, *(job.id for job in interactive), *(job.id for job in batch)]
    assert [worker.take().job.id for _ in range(5)] == expected


def test_claim_order_over_models(link: RedisLink) -> None:
    """One order holds over all the models that a worker serves."""
    worker = HandWorker(link)
    free = Model(name="free", backend="openai")
    jobs = [submit(link, model=name) for name in ("free", "demo", "free", "demo")]
    assert [worker.take(DEMO, free).job.id for _ in range(4)] == [job.id for job in jobs]


def test_claim_of_models_that_the_worker_serves(link: RedisLink) -> None:
    """A job of a model that nobody here serves stays queued."""
    submit(link, model="elsewhere")
    assert HandWorker(link).claim() is None


def test_claim_within_the_limit_of_a_model(link: RedisLink) -> None:
    """No more jobs of a model run than it allows, over all workers; others go past them."""
    one, other = HandWorker(link, name="one"), HandWorker(link, name="other")
    first, second = submit(link, model="small"), submit(link, model="small")
    demo = submit(link)
    claim = one.take(SMALL, DEMO)
    assert claim.job.id == first.id
    assert other.take(SMALL, DEMO).job.id == demo.id
    assert other.claim(SMALL, DEMO) is None
    one.finish(claim)
    assert other.take(SMALL, DEMO).job.id == second.id


def test_claim_past_a_cancelled_job(link: RedisLink) -> None:
    """A job that was cancelled while it was queued is never claimed."""
    first, second = submit(link), submit(link)
    store_of(link).cancel(first.id, OWNER)
    assert HandWorker(link).take().job.id == second.id
    assert kinds_of(link, first.id) == ["cancelled"]


def test_claim_past_stale_entries(link: RedisLink) -> None:
    """Jobs that are in the queue's index and no longer there are cleared away."""
    gone, job = submit(link), submit(link)
    link.call("DEL", job_key(gone.id))
    assert HandWorker(link).take().job.id == job.id
    assert link.call("ZCARD", f"{prefix(0)}pending:demo") == 0


def test_claim_of_a_job_past_its_deadline(link: RedisLink) -> None:
    """A job whose deadline came while it was queued is not begun but ends ``failed``."""
    late = submit(link)
    age(link, late.id, deadline_ms=1)
    assert HandWorker(link).claim() is None
    job = store_of(link).look(late.id, OWNER)
    assert job.error is not None
    assert (job.status, job.error["code"]) == (Status.FAILED, "deadline_exceeded")


def test_claim_of_an_input_that_cannot_be_read(link: RedisLink) -> None:
    """An input that is no JSON is a named error that keeps the bytes, and its job ends."""
    job = submit(link)
    link.call("SET", f"{job_key(job.id)}:input", "nonsense")
    with pytest.raises(UndecodableRecord) as caught:
        HandWorker(link).claim()
    assert caught.value.raw == b"nonsense"
    assert kinds_of(link, job.id) == ["started", "failed"]


def test_second_attempt_restarts(link: RedisLink) -> None:
    """The next attempt begins with ``restarted``; the text so far no longer counts, and ids go on."""
    submit(link)
    worker = HandWorker(link)
    first = worker.take()
    worker.say(first, "lost ", "words")
    worker.claims.hand_back(first.job.id, first.fence, counts=True)
    second = worker.take()
    assert (second.job.attempt, second.prefix, second.first) == (2, "", 5)
    assert second.job.attempt_first == 4
    assert kinds_of(link, first.job.id) == ["started", "token", "token", "restarted"]
    assert text_of(link, first.job.id) == ""


def test_second_attempt_continues(link: RedisLink) -> None:
    """Where the model can go on from a partial answer, the next attempt begins with ``continued`` and gets it."""
    submit(link, continuable=True)
    worker = HandWorker(link)
    first = worker.take()
    worker.say(first, "kept ", "words")
    worker.claims.hand_back(first.job.id, first.fence, counts=True)
    second = worker.take()
    assert (second.prefix, second.job.attempt, second.job.attempt_first) == ("kept words", 2, 1)
    worker.say(second, "!")
    assert kinds_of(link, first.job.id) == ["started", "token", "token", "continued", "token"]
    assert text_of(link, first.job.id) == "kept words!"


def test_second_attempt_after_more_than_text(link: RedisLink) -> None:
    """An attempt that has produced more than text is never continued; the one after may be."""
    submit(link, continuable=True)
    worker = HandWorker(link)
    first = worker.take()
    worker.append(first, 2, tokens(2, "a"), text="a", plain=False)
    worker.claims.hand_back(first.job.id, first.fence, counts=True)
    second = worker.take()
    assert kinds_of(link, first.job.id)[-1] == "restarted"
    worker.say(second, "b")
    worker.claims.hand_back(first.job.id, second.fence, counts=True)
    assert worker.take().prefix == "b"


def test_second_attempt_of_a_job_that_said_nothing(link: RedisLink) -> None:
    """An attempt that said nothing leaves nothing to continue."""
    submit(link, continuable=True)
    worker = HandWorker(link)
    first = worker.take()
    worker.claims.hand_back(first.job.id, first.fence, counts=True)
    assert worker.take().prefix == ""
    assert kinds_of(link, first.job.id) == ["started", "restarted"]


def test_hand_back_that_costs_nothing(link: RedisLink) -> None:
    """A job that is handed back because its worker leaves loses none of its attempts."""
    job = submit(link)
    worker = HandWorker(link, max_attempts=1)
    for _ in range(5):
        claim = worker.take()
        assert worker.claims.hand_back(job.id, claim.fence, counts=False) == "queued"
    assert record(link, job.id)["losses"] == "0"


def test_hand_back_of_the_last_attempt(link: RedisLink) -> None:
    """A job whose attempts are used up ends ``failed``."""
    job = submit(link)
    worker = HandWorker(link, max_attempts=2)
    answers = [worker.claims.hand_back(job.id, worker.take().fence, counts=True) for _ in range(2)]
    assert answers == ["queued", "failed"]
    found = store_of(link).look(job.id, OWNER)
    assert found.error is not None
    assert (found.error["code"], found.error["retryable"]) == ("attempts_exhausted", False)


def test_hand_back_after_an_error_of_the_upstream(link: RedisLink) -> None:
    """A job that ends by its upstream's error keeps what that named."""
    job, named = submit(link), {"status": 503, "code": "overloaded"}
    worker = HandWorker(link, max_attempts=1)
    worker.claims.hand_back(job.id, worker.take().fence, counts=True, upstream=named)
    found = store_of(link).look(job.id, OWNER)
    assert found.error is not None
    assert (found.error["code"], found.error["upstream"]) == ("attempts_exhausted", named)


def test_hand_back_of_a_job_that_may_not_begin_anew(link: RedisLink) -> None:
    """A job that has spoken and may not begin anew ends ``failed``, retryable; one that has not is queued again."""
    worker = HandWorker(link)
    silent = submit(link, on_worker_loss=OnWorkerLoss.FAIL)
    claim = worker.take()
    assert worker.claims.hand_back(silent.id, claim.fence, counts=True) == "queued"
    claim = worker.take()
    worker.say(claim, "spoken")
    assert worker.claims.hand_back(silent.id, claim.fence, counts=True) == "failed"
    found = store_of(link).look(silent.id, OWNER)
    assert found.error is not None
    assert (found.error["code"], found.error["retryable"]) == ("worker_lost", True)


def test_hand_back_of_a_job_that_continues_instead(link: RedisLink) -> None:
    """A job that may not begin anew goes on where its model can continue."""
    job = submit(link, on_worker_loss=OnWorkerLoss.FAIL, continuable=True)
    worker = HandWorker(link)
    claim = worker.take()
    worker.say(claim, "spoken")
    assert worker.claims.hand_back(job.id, claim.fence, counts=True) == "queued"
    assert worker.take().prefix == "spoken"


def test_hand_back_of_a_cancelled_job(link: RedisLink) -> None:
    """A job whose cancel was asked for is not queued again."""
    job = submit(link)
    worker = HandWorker(link)
    claim = worker.take()
    store_of(link).cancel(job.id, OWNER)
    assert worker.claims.hand_back(job.id, claim.fence, counts=True) == "cancelled"
    assert worker.claims.hand_back(job.id, claim.fence, counts=True) == "cancelled"
    assert kinds_of(link, job.id) == ["started", "cancelled"]


def test_hand_back_under_another_fence(link: RedisLink) -> None:
    """Who does not hold the job cannot give it up."""
    job = submit(link)
    worker = HandWorker(link)
    claim = worker.take()
    assert worker.claims.hand_back(job.id, new_fence(), counts=True) == "lost"
    worker.finish(claim)
    assert worker.claims.hand_back(job.id, claim.fence, counts=True) == "lost"


def test_heartbeat_answers_for_each_job(link: RedisLink) -> None:
    """One call renews all leases of a process and says of each job what became of it."""
    worker = HandWorker(link)
    for _ in range(4):
        submit(link)
    held, stolen, cancelled, ended = [worker.take() for _ in range(4)]
    store_of(link).cancel(cancelled.job.id, OWNER)
    worker.finish(ended)
    age(link, held.job.id, leased_until_ms=1)
    answers = worker.beat(held, replace(stolen, fence=new_fence()), cancelled, ended, free=7)
    assert answers == [b"ok", b"lost", b"cancelled", b"lost"]
    assert kinds_of(link, cancelled.job.id) == ["started", "cancelled"]
    leased = int(record(link, held.job.id)["leased_until_ms"])
    assert int(link.call("ZSCORE", f"{prefix(0)}running:demo", held.job.id)) == leased > 1
    assert link.call("HGET", f"{prefix(0)}slots", "hand") == b"7"


def test_heartbeat_with_one_job_broken(link: RedisLink) -> None:
    """One record that cannot be read is lost to its worker, and no other."""
    worker = HandWorker(link)
    submit(link)
    submit(link)
    broken, held = worker.take(), worker.take()
    link.call("SET", job_key(broken.job.id), "no hash")
    assert worker.beat(broken, held) == [b"lost", b"ok"]


def test_heartbeat_of_a_worker_that_leaves(link: RedisLink) -> None:
    """A worker that goes away is no longer counted, nor are its slots."""
    worker = HandWorker(link)
    worker.beat(free=3)
    worker.beat(free=-1)
    assert link.call("ZCARD", f"{prefix(0)}workers") == 0
    assert link.call("HLEN", f"{prefix(0)}slots") == 0


@pytest.mark.parametrize("ends", ["in text", "not in text"])
def test_claim_answers_with_the_record_as_it_is_stored(link: RedisLink, ends: str) -> None:
    """The first answer, the repeated one and a look show the same job, in its first attempt and in a later one."""
    worker, fences = HandWorker(link), [new_fence(), new_fence()]
    job = submit(link, continuable=True, metadata={"a": "b"}, priority=Priority.BATCH)
    for fence in fences:
        claim, again = worker.claim(fence=fence), worker.claim(fence=fence)
        assert claim is not None
        assert again is not None
        # The repeated answer does not look for other jobs.
        assert again == replace(claim, left_s=again.left_s, has_more=True)
        assert claim.job == replace(store_of(link).look(job.id, OWNER), text=None)
        worker.append(claim, claim.first, tokens(claim.first, "a"), text="a", plain=ends == "in text")
        worker.claims.hand_back(job.id, fence, counts=False)
