"""What workers do: claim, append, end, beat, hand back; each also with its answer lost, and out of time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from spool.jobs.claims import SENT_UNKNOWN, Claim, Held, Wanted
from spool.jobs.entries import Entry, Kind
from spool.jobs.job import Status
from spool.jobs.scripts import script
from tests.job_model.hands import Hand
from tests.job_model.ledger import LOST_HISTORY, ModelJob
from tests.job_model.machine import LEASE_S, MAX_ATTEMPTS, MODELS, Frame, by_number

NUMBER = st.integers(0, 7)
MOST_HANDS = 12
BEFORE = "the run before"


class WorkerRules(Frame):
    """Workers."""

    def worker(self, number: int) -> str:
        """One that lives."""
        return str(by_number(list(self.workers), number))

    @precondition(lambda self: len(self.hands) < MOST_HANDS)
    @rule(
        number=NUMBER,
        wanted=st.sampled_from(["any", "any", "any", "retries", "apart"]),
        names=st.sampled_from(["demo small", "demo small", "demo", "small"]),
        answer_is_lost=st.sampled_from([False, False, False, True]),
    )
    def claim(self, number: int, wanted: Wanted, names: str, answer_is_lost: bool) -> None:
        """A worker asks for a job; what is past its deadline is cleared away on the way."""
        worker, fence = self.worker(number), self.new_fence()
        models = [MODELS[name] for name in names.split()]
        taken = {model.name: self.strays(f"running:{model.name}") for model in models}
        claim = self.claims(worker).claim(self.shard, models, fence, wanted)
        job = self.ledger.next(models, wanted, taken)
        if claim is None and self.settling and not (job is not None and job.late and self.has_ended_in_redis(job)):
            # It may have been too early for a claim. Only the end of a late job shows that it was not.
            return
        while job is not None and job.late:
            self.fails(job, job.late)
            job = self.ledger.next(models, wanted, taken)
        assert (claim.job.id if claim else None) == (job.id if job else None)
        if claim is None or job is None:
            return
        self.begins(job, claim)
        self.ledger.claims[fence] = job.id
        hand = Hand(worker, fence)
        self.hands.append(hand)
        if answer_is_lost:
            hand.asked_for = (models, wanted)
        else:
            self.knows(hand, claim)

    def knows(self, hand: Hand, claim: Claim) -> None:
        """A claim's answer has arrived."""
        hand.know(claim)
        self.made.add(claim.opening)

    def begins(self, job: ModelJob, claim: Claim) -> None:
        """The attempt that the claim got: its first entry, its number, what it is to continue from."""
        opening = Entry.decode(claim.opening)
        kind, fields = job.opening()
        if opening.fields.get("reason") == LOST_HISTORY:
            job.check_jump(opening.id)
            kind, fields = Kind.RESTARTED, {"attempt": job.attempt + 1, "reason": LOST_HISTORY}
        else:
            assert not job.torn, "no word on what was lost"
            assert opening.id == job.last + 1
        assert (opening.kind, dict(opening.fields)) == (kind, fields)
        job.begin(claim.fence, kind, claim.opening, opening.id)
        assert (claim.job.attempt, claim.first) == (job.attempt, job.last + 1)
        assert claim.prefix == (job.text if kind is Kind.CONTINUED else "")
        assert claim.input == job.new.input

    @precondition(lambda self: any(hand.claim is None and not hand.over for hand in self.hands))
    @rule(number=NUMBER)
    def claim_again(self, number: int) -> None:
        """The same claim, after its answer was lost: the same job, if it is this fence's still."""
        hand = by_number([hand for hand in self.hands if hand.claim is None and not hand.over], number)
        job = self.ledger.jobs.get(self.ledger.claims.get(hand.fence, ""))
        if job is None or job.record_broken or job.log_broken:
            # Redis lost that claim, too, and would give out another job; or nothing can be read.
            hand.over = True
            return
        models, wanted = hand.asked_for
        claim = self.claims(hand.worker).claim(self.shard, models, hand.fence, wanted)
        if job.forgotten or job.status is not Status.RUNNING or job.fence != hand.fence:
            # One that has ended under this fence may be given out again; its worker learns so with its first append.
            assert claim is None or (claim.job.id == job.id and job.ended)
            hand.over = True
            return
        assert claim is not None
        assert (claim.job.id, claim.opening, claim.first) == (job.id, job.lines[-1].raw, job.last + 1)
        self.knows(hand, claim)

    @precondition(lambda self: self.pick_hand(0) is not None)
    @rule(
        number=NUMBER,
        texts=st.lists(st.sampled_from(["", "aß", "🧵\n", '"\\']), min_size=1, max_size=3),
        tool=st.sampled_from([False, False, False, True]),
        send=st.booleans(),
    )
    def generate(self, number: int, texts: list[str], tool: bool, send: bool) -> None:
        """A worker's model says something; Redis hears of it at once, or later."""
        hand = self.pick_hand(number)
        if hand is not None and hand.ending is None:
            for text in texts:
                hand.make(Kind.TOKEN, text)
            if tool:
                hand.make(Kind.TOOL_CALL, "{}")
            if send:
                self.append([(number, 0, 9)], answer_is_lost=False)

    @precondition(lambda self: self.pick_hand(0) is not None)
    @rule(number=NUMBER, status=st.sampled_from([Status.SUCCEEDED, Status.FAILED]), send=st.booleans())
    def finish(self, number: int, status: Status, send: bool) -> None:
        """A worker's attempt comes to its end; Redis hears of it at once, or later."""
        hand = self.pick_hand(number)
        if hand is not None and hand.ending is None:
            hand.end(status)
            if send:
                self.append([(number, 0, 9)], answer_is_lost=False)

    @precondition(lambda self: self.pick_hand(0) is not None)
    @rule(
        which=st.lists(st.tuples(NUMBER, st.integers(-3, 2), st.integers(1, 4)), min_size=1, max_size=3),
        answer_is_lost=st.booleans(),
    )
    def append(self, which: list[tuple[int, int, int]], answer_is_lost: bool) -> None:
        """What gathered for some attempts: from where Redis is known to be, or from before it (sent again), or from
        beyond it (a gap). An attempt that has lost its job says something as well, and must not be heard."""
        commits: dict[str, tuple[Hand, list[Any]]] = {}
        for number, shift, count in which:
            hand = self.pick_hand(number)
            assert hand is not None
            first = max(hand.first, min(hand.acked + 1 + shift, hand.last))
            if not hand.unclaimed and first <= hand.last:
                commits.setdefault(hand.fence, (hand, hand.commit(first, count)))
                hand.sent = max(hand.sent, min(first + count - 1, hand.last))
        flat = [arg for _hand, commit in commits.values() for arg in commit]
        answers = self.link.run(script("append"), 0, round(LEASE_S * 1000), *flat)
        for (hand, commit), answer in zip(commits.values(), answers, strict=True):
            self.made.update(commit[8:])
            told = self.appended(hand, commit)
            assert answer == told if told != b"error" else answer.startswith(b"error")
            if not answer_is_lost:
                self.hears(hand, answer)

    def appended(self, hand: Hand, commit: list[Any]) -> int | bytes:
        """What an append does, and answers."""
        job, (first, count, ending) = self.ledger.jobs.get(hand.job_id), commit[2:5]
        if job is None or job.forgotten:
            return b"lost"
        if job.record_broken:
            return b"lost"
        if job.status is Status.CANCELLED:
            return b"cancelled"
        if job.status is Status.QUEUED:
            return b"unclaimed"
        if job.fence != hand.fence:
            return b"lost"
        if job.ended:
            return job.last if ending and job.last >= first + count - 1 else b"lost"
        if job.cancelling:
            self.is_cancelled(job)
            return b"cancelled"
        if job.log_broken and first <= job.last + 1 < first + count:
            return b"error"
        new = commit[8:][max(0, job.last + 1 - first) :]
        if first <= job.last + 1 and new:
            job.take(new)
            job.plain = job.plain and bool(commit[5])
            if ending:
                assert hand.ending is not None
                job.end(hand.ending)
                self.has_ended(job)
            elif job.lease_out:
                job.lease_out = False
        return job.last

    def hears(self, hand: Hand, answer: int | bytes) -> None:
        """What a worker makes of an answer about its attempt."""
        if isinstance(answer, int):
            hand.acked = max(hand.first, min(answer, hand.last))
        elif answer == b"unclaimed":
            hand.unclaimed = True
        elif answer not in (b"ok", b"whole"):
            hand.over = hand.over or answer in (b"lost", b"cancelled") or answer.startswith(b"error")

    @rule(number=NUMBER, answer_is_lost=st.sampled_from([False, False, True]))
    def beat(self, number: int, answer_is_lost: bool) -> None:
        """A heartbeat for what a worker has and appends nothing to; on another run of Redis for all of it, and for what
        has ended."""
        worker = self.worker(number)
        on_run, is_first = self.workers[worker], worker not in self.has_met
        mine = [hand for hand in self.hands if hand.worker == worker and hand.holds]
        mine = [hand for hand in mine if hand.wants_beat(on_run) or is_first]
        held = [Held(hand.job_id, hand.fence, hand.acked, hand.sent) for hand in mine]
        asked = [
            hand for hand in self.hands if hand.worker == worker and hand.gave_up and self.workers[worker] == BEFORE
        ]
        held += [hand.as_given_up() for hand in asked]
        beat = self.claims(worker).heartbeat(held, free=1, server=self.workers[worker])
        assert beat.apart == len(self.ledger.apart()) + self.strays("apart")
        answers = [answer for _held, answer in beat.answers]
        for hand, answer in zip(asked, answers[len(mine) :], strict=True):
            assert answer == self.beaten(replace(hand, acked=0, sent=SENT_UNKNOWN), beat.server)
            if answer == b"unclaimed" and not answer_is_lost:
                self.disown(hand)
        for hand, answer in zip(mine, answers[: len(mine)], strict=True):
            assert answer == self.beaten(hand, beat.server)
            if not answer_is_lost and not (hand.ending and hand.acked == hand.last and answer == b"lost"):
                self.hears(hand, answer)
            if answer == b"whole" and not answer_is_lost:
                hand.whole_on = on_run
        if not answer_is_lost:
            # The first beat that meets a run is one on the run before; the next one says all.
            if beat.server == on_run:
                self.has_met.add(worker)
            self.workers[worker] = beat.server

    def disown(self, hand: Hand) -> None:
        """Redis has lost an attempt that was given up."""
        assert hand.claim is not None
        self.claims(hand.worker).disown(hand.claim)
        job = self.ledger.jobs.get(hand.job_id)
        if job is not None and job.status is Status.QUEUED and job.attempt < hand.claim.job.attempt:
            job.torn = job.suspect = True

    def beaten(self, hand: Hand, server: str) -> int | bytes:
        """What a heartbeat does to one job, and answers. Whether that makes its log a whole one is Redis's to say, but
        not while something is missing that readers may have seen."""
        job = self.ledger.jobs.get(hand.job_id)
        if job is None or job.forgotten:
            return b"lost"
        if job.record_broken:
            return b"lost"
        if job.status is Status.CANCELLED:
            return b"cancelled"
        if job.status is Status.QUEUED:
            return b"unclaimed"
        if job.ended or job.fence != hand.fence:
            return b"lost"
        if job.cancelling:
            self.is_cancelled(job)
            return b"cancelled"
        job.lease_out = False
        if job.last < hand.acked:
            return job.last
        known_whole = self.link.call("HGET", f"spool:{{0}}:job:{job.id}", "server") == server.encode()
        if job.suspect and known_whole:
            assert job.last >= hand.sent, "taken for whole"
            job.suspect = False
        return b"whole" if known_whole and self.workers[hand.worker] == server else b"ok"

    @precondition(lambda self: any(hand.holds and hand.unclaimed for hand in self.hands))
    @rule(number=NUMBER, answer_is_lost=st.sampled_from([False, False, True]))
    def adopt(self, number: int, answer_is_lost: bool) -> None:
        """A worker that was told that nobody holds its job takes it again, if it may."""
        hand = by_number([hand for hand in self.hands if hand.holds and hand.unclaimed], number)
        job = self.ledger.jobs.get(hand.job_id)
        if hand.claim is None or (job is not None and job.record_broken):
            return
        answer = self.claims(hand.worker).adopt(hand.claim)
        assert answer == self.adopted(hand, job)
        if not answer_is_lost:
            hand.unclaimed = False
            self.hears(hand, answer)

    def adopted(self, hand: Hand, job: ModelJob | None) -> int | bytes:
        """What adopting does, and answers."""
        assert hand.claim is not None
        if job is None or job.forgotten:
            return b"lost"
        if job.status is Status.CANCELLED:
            return b"cancelled"
        if job.status is Status.RUNNING and job.fence == hand.fence:
            return job.last
        if job.status is not Status.QUEUED or job.attempt != hand.claim.job.attempt - 1 or job.last >= hand.first:
            return b"lost"
        job.begin(hand.fence, Entry.decode(hand.entries[0]).kind, hand.entries[0], hand.first)
        # What was sent after the opening is missing still.
        job.suspect = True
        self.ledger.claims[hand.fence] = job.id
        return hand.first

    @precondition(lambda self: any(hand.holds and not hand.unclaimed for hand in self.hands))
    @rule(
        number=NUMBER,
        counts=st.booleans(),
        restarts=st.sampled_from([False, False, True]),
        answer_is_lost=st.sampled_from([False, False, True]),
    )
    def hand_back(self, number: int, counts: bool, restarts: bool, answer_is_lost: bool) -> None:
        """A worker gives its job up; or tries to, when it is no longer its own."""
        hand = by_number([hand for hand in self.hands if hand.holds and not hand.unclaimed], number)
        job = self.ledger.jobs.get(hand.job_id)
        if job is not None and job.record_broken:
            return
        reason = "upstream_lost" if counts else "handed_back"
        hand.sent = SENT_UNKNOWN
        answer = self.claims(hand.worker).hand_back(
            hand.job_id, hand.fence, counts=counts, restarts=restarts, reason=reason
        )
        told = "lost"
        if job is not None and not job.forgotten and job.status is Status.CANCELLED:
            told = "cancelled"
        elif job is not None and job.status is Status.RUNNING and job.fence == hand.fence:
            job.plain = job.plain and not restarts
            told, code = job.lose(costs=counts, died=False, reason=reason, max_attempts=MAX_ATTEMPTS)
            if told == "cancelled":
                self.is_cancelled(job)
            elif told == "failed":
                self.fails(job, code)
        assert answer == told
        hand.over = hand.over or not answer_is_lost
