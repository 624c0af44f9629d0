"""What callers do: submit, look, cancel, delete, read; and what the keeper does about time."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from spool.errors import IdempotencyConflict, JobGone, JobNotEnded, JobNotFound, QueueFull
from spool.jobs.job import NewJob, OnDisconnect, OnWorkerLoss, Priority, Status
from spool.jobs.packer import Packer
from spool.jobs.scripts import script
from tests.by_hand import OWNER, age, keep, ledger_of, new_job
from tests.job_model.ledger import BATCH_JOBS, ModelJob
from tests.job_model.machine import BATCH, MAX_ATTEMPTS, MODELS, Frame, by_number

NUMBER = st.integers(0, 7)
MOST_JOBS = 10
MOST_OPEN = 5
MOST_QUEUED = 4


class CallerRules(Frame):
    """Callers and the keeper."""

    @precondition(lambda self: len(self.ledger.jobs) < MOST_JOBS and self.open_jobs() < MOST_OPEN)
    @rule(
        model=st.sampled_from(list(MODELS)),
        priority=st.sampled_from(Priority),
        on_disconnect=st.sampled_from(OnDisconnect),
        on_worker_loss=st.sampled_from(OnWorkerLoss),
        key=st.sampled_from(["", "", "k1", "k2"]),
        body=st.sampled_from(["d1", "d1", "d2"]),
        in_batch=st.booleans(),
    )
    def submit(
        self,
        model: str,
        priority: Priority,
        on_disconnect: OnDisconnect,
        on_worker_loss: OnWorkerLoss,
        key: str,
        body: str,
        in_batch: bool,
    ) -> None:
        """A submit, with or without an Idempotency-Key."""
        self.submit_this(
            new_job(
                id=self.new_id(),
                model=model,
                continuable=MODELS[model].continues,
                priority=priority,
                on_disconnect=on_disconnect,
                on_worker_loss=on_worker_loss,
                idempotency_key=key,
                body_digest=body,
                batch=BATCH if in_batch and len(self.ledger.batch) < BATCH_JOBS else "",
            )
        )

    def new_id(self) -> str:
        """An id; not by chance, so that the same steps give the same run."""
        # Nor ever the same twice, whatever Redis has lost since.
        self.ids += 1
        return f"j0-{self.ids:026d}"

    def open_jobs(self) -> int:
        """Jobs that have not ended."""
        return sum(not job.ended for job in self.ledger.live())

    def submit_this(self, new: NewJob) -> None:
        """What a submit must answer, and whether it makes a job."""
        before = self.ledger.keys.get(new.idempotency_key)
        if before is not None and before[1] != new.body_digest:
            with pytest.raises(IdempotencyConflict) as caught:
                self.store.submit(new, max_queued=MOST_QUEUED)
            assert caught.value.job_id == before[0]
            return
        first = self.ledger.jobs.get(before[0] if before else new.id)
        if first is not None and not first.forgotten:
            if first.record_broken:
                return
            again = self.store.submit(new, max_queued=MOST_QUEUED)
            assert (again.job.id, again.replayed) == (first.id, first.id != new.id)
            assert again.job.status is first.status
        elif self.waiting() >= MOST_QUEUED:
            with pytest.raises(QueueFull):
                self.store.submit(new, max_queued=MOST_QUEUED)
        else:
            job = self.store.submit(new, max_queued=MOST_QUEUED).job
            added = self.ledger.add(new)
            ahead = [one.id for one in self.ledger.queued() if one.new.model == new.model].index(added.id)
            assert job.queue_position is not None
            assert 0 <= job.queue_position - ahead <= self.strays(f"pending:{new.model}")

    def waiting(self) -> int:
        """Jobs that count as queued."""
        queued = sum(job.status is Status.QUEUED for job in self.ledger.live())
        entries, broken = ledger_of(self.link), [job.id for job in self.ledger.jobs.values() if job.record_broken]
        return queued + sum(entries[job_id][0] for job_id in broken if job_id in entries)

    @precondition(lambda self: self.ledger.jobs)
    @rule(
        number=NUMBER,
        what=st.sampled_from([*["look", "submit again"] * 3, "delete", "cancel", "expire"]),
    )
    def ask(self, number: int, what: str) -> None:
        """Something about a job."""
        asks = {"look": self.look, "submit again": self.submit_again, "cancel": self.cancel}
        asks.update({"delete": self.delete, "expire": self.expire})
        job = self.pick_job(number)
        if not job.record_broken:
            asks[what](job)
        elif what == "look":
            # Whoever owns it is known: it can end.
            found = self.store.look(job.id, OWNER)
            assert (found.status, (found.error or {})["code"]) == (Status.FAILED, "record_damaged")
            assert self.store.look_many([job.id], OWNER) == [found]

    def submit_again(self, job: ModelJob) -> None:
        """The very same submit, after its answer was lost."""
        if not job.forgotten:
            self.submit_this(job.new)

    def look(self, job: ModelJob) -> None:
        """Short polling."""
        if job.forgotten:
            with pytest.raises(JobGone):
                self.store.look(job.id, OWNER)
        else:
            found = self.store.look(job.id, OWNER, with_text=True)
            assert (found.status, found.text, found.last_entry) == (job.status, job.text, job.last)
            with pytest.raises(JobNotFound):
                self.store.look(job.id, "mallory")

    def cancel(self, job: ModelJob) -> None:
        """A cancel, in any state, any number of times; of somebody else's job, it is none."""
        assert self.link.run(script("cancel"), 0, job.id, "mallory") is None
        answer = self.link.run(script("cancel"), 0, job.id, OWNER)
        if job.forgotten:
            assert answer is None
            return
        # One that has ended stays as it is: also one that nobody read any more, and that was cancelled for it.
        job.cancelling = job.cancelling or not job.ended
        if job.status is Status.QUEUED:
            self.is_cancelled(job)
        assert answer.decode() == job.status

    def delete(self, job: ModelJob) -> None:
        """A delete: only of what has ended."""
        if job.forgotten or not job.ended:
            with pytest.raises(JobGone if job.forgotten else JobNotEnded):
                self.store.delete(job.id, OWNER)
            return
        self.store.delete(job.id, OWNER)
        job.listed = False
        self.forget(job)

    def forget(self, job: ModelJob) -> None:
        """Nothing but its tombstone is left."""
        job.forgotten = True
        if self.ledger.keys.get(job.new.idempotency_key, ("", ""))[0] == job.id:
            del self.ledger.keys[job.new.idempotency_key]

    def expire(self, job: ModelJob) -> None:
        """An ended job's keys expire, and the keeper takes it from its owner's list."""
        if not job.ended or not job.listed:
            return
        key = f"spool:{{0}}:job:{job.id}"
        keys = [key, f"{key}:input", f"{key}:log", f"{key}:text"]
        if self.ledger.keys.get(job.new.idempotency_key, ("", ""))[0] == job.id:
            keys.append(f"spool:{{0}}:idempotency:{OWNER}:{job.new.idempotency_key}")
        self.link.call("DEL", *keys)
        self.forget(job)
        self.link.call("ZADD", "spool:{0}:kept", 1, f"{OWNER} {job.id}")
        job.listed = False
        self.keep()

    # Time.

    @precondition(lambda self: any(job.ended for job in self.ledger.live()))
    @rule()
    def pack(self) -> None:
        """The logs of all jobs that have ended are packed, for which nothing else changes."""
        packer = Packer(self.shard, after_s=0)
        while packer.beat(lambda _seconds: None):
            pass

    @rule()
    def keep(self) -> None:
        """A round of the keeper; and one more, if it was patient in the first one."""
        reply = keep(self.link, lease_ms=1, max_attempts=MAX_ATTEMPTS, patient=True)
        assert reply is not None
        if reply[5]:
            self.is_kept(patient=True)
            self.link.call("HSET", "spool:{0}:keeper", "patient_until_ms", 0)
            keep(self.link, lease_ms=1, max_attempts=MAX_ATTEMPTS)
        self.is_kept(patient=False)

    def is_kept(self, *, patient: bool) -> None:
        """What one round does."""
        for job in self.ledger.live():
            if not patient and job.status is Status.RUNNING and job.lease_out:
                self.take_over(job)
        for job in self.ledger.live():
            if not job.ended and job.late:
                self.end_overdue(job)
        for job in self.ledger.live():
            if not patient and job.watched and job.unread:
                job.watched = False
                if job.status is Status.QUEUED:
                    self.is_cancelled(job)
                elif job.status is Status.RUNNING:
                    job.cancelling = True

    def take_over(self, job: ModelJob) -> None:
        """Its lease ran out."""
        became, code = job.lose(costs=True, died=True, reason="worker_lost", max_attempts=MAX_ATTEMPTS)
        if became == "cancelled":
            self.is_cancelled(job)
        elif became == "failed":
            self.fails(job, code)

    def end_overdue(self, job: ModelJob) -> None:
        """Its deadline, or its time to begin, has passed."""
        if job.cancelling:
            self.is_cancelled(job)
        else:
            self.fails(job, job.late)

    @precondition(lambda self: self.open_jobs())
    @rule(
        number=NUMBER,
        what=st.sampled_from([*["lease"] * 6, "reader comes", "reader leaves", "deadline", "start"]),
        keep=st.booleans(),
    )
    def time_passes(self, number: int, what: str, keep: bool) -> None:
        """A lease, a deadline, the time to begin or a reader's grace is over. The keeper notices; or a claim does."""
        job = by_number([job for job in self.ledger.live() if not job.ended], number)
        if what == "lease" and job.status is Status.RUNNING:
            age(self.link, job.id, leased_until_ms=1)
            job.lease_out = True
        elif what == "deadline":
            age(self.link, job.id, deadline_ms=1)
            job.overdue = True
        elif what == "start" and job.status is Status.QUEUED and not job.attempt:
            age(self.link, job.id, start_by_ms=1)
            job.start_overdue = True
        elif what == "reader comes":
            self.link.run(script("watch"), 0, 60_000, job.id)
            job.unread = False
        elif what == "reader leaves" and job.watched:
            self.link.call("ZADD", "spool:{0}:watched", 1, job.id)
            job.unread = True
        if keep:
            self.keep()
