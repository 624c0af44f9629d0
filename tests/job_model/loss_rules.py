"""What breaks: workers die, scripts are flushed, keys turn into something else, and Redis loses its last steps."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.job_model.hands import Hand
from tests.job_model.ledger import Ledger, ModelJob
from tests.job_model.machine import by_number
from tests.job_model.worker_rules import BEFORE, WorkerRules

NUMBER = st.integers(0, 7)
MOST_WORKERS = 3


class LossRules(WorkerRules):
    """Losses."""

    @rule(number=NUMBER, what=st.sampled_from(["scripts", "worker dies", "worker starts", "log", "record"]))
    def breaks(self, number: int, what: str) -> None:
        """One of them."""
        breaks = {"scripts": self.scripts_are_flushed, "worker dies": self.worker_dies, "log": self.log_breaks}
        breaks.update({"worker starts": self.worker_starts, "record": self.record_breaks})
        breaks[what](number)

    def scripts_are_flushed(self, _number: int) -> None:
        """Redis forgets the scripts; whoever calls one loads it again."""
        self.link.call("SCRIPT", "FLUSH")

    def worker_dies(self, number: int) -> None:
        """With all that it knows."""
        if len(self.workers) > 1:
            worker = by_number(list(self.workers), number)
            del self.workers[worker]
            self.hands = [hand for hand in self.hands if hand.worker != worker]

    def worker_starts(self, _number: int) -> None:
        """It takes nothing before Redis can no longer lose its name."""
        if len(self.workers) < MOST_WORKERS:
            self.new_worker()
            self.history.forget()

    def log_breaks(self, number: int) -> None:
        """Something that is no log stands in a log's place. What it held is a gap."""
        logs = [job for job in self.ledger.live() if not job.log_broken and job.lines]
        if logs and number < len(logs):
            key = f"spool:{{0}}:job:{logs[number].id}:log"
            ttl = self.link.call("PTTL", key)
            self.link.call("SET", key, "no log", *(["PX", ttl] if ttl > 0 else []))
            logs[number].log_broken = True

    def record_breaks(self, number: int) -> None:
        """Something that is no record stands in a record's place: this job is lost, and no other."""
        live = [job for job in self.ledger.live() if not job.ended]
        if number < len(live) and not any(job.record_broken for job in self.ledger.jobs.values()):
            self.link.call("SET", f"spool:{{0}}:job:{live[number].id}", "no record")
            live[number].record_broken = True

    @precondition(lambda self: self.settling)
    @rule()
    def redis_settles(self) -> None:
        """Redis has been back for some time: a claim for nothing is what it met first."""
        self.claims("nobody").claim(self.shard, [], "0" * 16)
        self.link.call("HSET", "spool:{0}:server", "since_ms", 1)
        self.settling = False

    @precondition(lambda self: len(self.history) > 1)
    @rule(steps=st.integers(0, 3), beats=st.integers(0, 2))
    def redis_loses_steps(self, steps: int, beats: int) -> None:
        """Redis comes back as it was a few steps ago. What workers know and readers saw stays. The workers may beat at
        once, as they do within half a second."""
        after = self.ledger
        self.ledger = self.history.rewind(steps)
        self.history.forget()
        self.settling = True
        for name in self.workers:
            self.workers[name] = BEFORE
        self.has_met.clear()
        for hand in self.hands:
            # On a run that has the name of this one here, and another one elsewhere.
            hand.whole_on = ""
        self.excuse(after)
        for number in range(beats * len(self.workers)):
            self.beat(number, answer_is_lost=False)

    def excuse(self, after: Ledger) -> None:
        """What readers saw of lost steps and nothing can know of.

        Entries that no worker made or was told of: an end from outside (a cancel, a deadline), or how an attempt began
        whose worker never heard of it. And where another attempt began while the one before lived without knowing that
        it had lost its lease (which is longer than what Redis loses), its worker is told.
        """
        for job_id, job in after.jobs.items():
            before, seen = self.ledger.jobs.get(job_id), self.seen.get(job_id, {})
            if before is None:
                continue
            made = {raw for raw in seen.values() if raw in self.made}
            for line in job.lines:
                if line.id > before.last and seen.get(line.id) not in made:
                    seen.pop(line.id, None)
            for hand in self.hands:
                if hand.holds and hand.job_id == job_id and made - self.known_to(hand, before):
                    hand.over = True

    @staticmethod
    def known_to(hand: Hand, before: ModelJob) -> set[bytes]:
        """The entries that are safe as long as this worker has the job: its own, and what Redis still has."""
        return {*hand.entries, *(line.raw for line in before.lines if line.raw is not None)}
