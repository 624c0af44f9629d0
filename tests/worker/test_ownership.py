"""The jobs that a process answers for: which it says it has, what it keeps, and what it sends again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import gevent
import pytest
from gevent.greenlet import Greenlet

from spool.errors import StoreUnavailable
from spool.jobs.claims import SENT_UNKNOWN, Claim, Claims, Held
from spool.jobs.entries import Kind
from spool.jobs.job import Status
from spool.jobs.shards import Shards
from spool.models.model import DEMO
from spool.redis.link import RedisLink
from tests.by_hand import claimed
from tests.clock import Clock
from worker.attempt import Attempt, HandBack
from worker.attempt_log import AttemptLog, AttemptOver
from worker.backends import Backend, GenerationRequest, Piece
from worker.ownership import KEEP_S, OwnedAttempts, Running

MIB = 1024 * 1024
RUN = "a run of Redis"


class Nothing:
    """A backend that is never asked."""

    def generate(self, request: GenerationRequest) -> Iterator[Piece]:  # noqa: ARG002
        return iter(())


class Stopped:
    """A backend whose worker goes away."""

    def generate(self, request: GenerationRequest) -> Iterator[Piece]:  # noqa: ARG002
        raise HandBack


@dataclass
class Bench:
    """The held jobs of a process, and what stands in for its Redis: ``answers`` are those to the next adoptions, and
    ``None`` to the next disowning."""

    answers: list[int | bytes | Exception | None] = field(default_factory=list)
    adopted: list[Claim] = field(default_factory=list)
    disowned: list[Claim] = field(default_factory=list)
    changed: list[AttemptLog] = field(default_factory=list)
    commits: bool = True
    """What is written counts as committed at once; otherwise the log is added to ``changed``."""

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.jobs = OwnedAttempts(self, self.clock)

    def adopt(self, claim: Claim) -> int | bytes:
        self.adopted.append(claim)
        answer = self._answer()
        assert answer is not None
        return answer

    def disown(self, claim: Claim) -> None:
        self.disowned.append(claim)
        self._answer()

    def _answer(self) -> int | bytes | None:
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def begin(
        self, number: int = 0, run: Callable[[], None] = lambda: gevent.sleep(60), backend: Backend | None = None
    ) -> Running:
        """An attempt begins, whose greenlet does ``run``."""
        claim = claimed(f"j0-{number:026d}", fence=f"fence{number}")
        log = AttemptLog(claim, self._commit, self.jobs)
        claims = Claims(Shards.on(RedisLink("unix:///nowhere")), worker="w", lease_s=10, max_attempts=3)
        attempt = Attempt(claim, DEMO, backend or Nothing(), log, claims, max_output_bytes=MIB)
        greenlet = Greenlet(run)
        running = Running(attempt, greenlet)
        self.jobs.begin(running)
        greenlet.start()
        return running

    def end(self, running: Running) -> None:
        """The attempt ends, done."""
        running.attempt.log.end(Status.SUCCEEDED, Kind.DONE, {"finish_reason": "stop"}, None)
        self.jobs.end(running)

    def _commit(self, log: AttemptLog) -> None:
        if not self.commits:
            self.changed.append(log)
            return
        while log.pending() is not None:
            log.answered(log.sent)


@pytest.fixture
def bench() -> Bench:
    """Nothing is held yet."""
    return Bench()


def say(running: Running, *texts: str) -> None:
    """The job writes tokens."""
    for text in texts:
        running.attempt.log.append_text(Kind.TOKEN, text, text.encode())


def held_of(running: Running) -> Held:
    """The job as a heartbeat speaks of it."""
    log = running.attempt.log
    return Held(log.job_id, log.fence, log.acked, log.sent)


def test_held_is_what_runs_and_how_far_it_is_committed(bench: Bench) -> None:
    """Each running job with the last id that Redis has confirmed, and not with what is on its way."""
    first, second = bench.begin(1), bench.begin(2)
    say(first, "a", "b")
    bench.commits = False
    say(second, "a")
    assert bench.jobs.held(with_ended=False, server=RUN) == [
        Held(first.attempt.log.job_id, "fence1", 3, 3),
        Held(second.attempt.log.job_id, "fence2", 1, 1),
    ]
    # On its way: Redis may have it, and readers too.
    assert second.attempt.log.pending() is not None
    assert bench.jobs.held(with_ended=False, server=RUN)[1] == Held(second.attempt.log.job_id, "fence2", 1, 2)


def test_held_without_jobs_whose_appends_speak_for_them(bench: Bench) -> None:
    """Where a log is whole on this run of Redis and goes on being committed, a beat would say nothing new. It comes
    back with the first beat for which nothing was, and when Redis is another one."""
    running = bench.begin()
    say(running, "a")
    assert bench.jobs.held(with_ended=False, server=RUN) == [held_of(running)]
    say(running, "b")
    # Not known to be whole yet.
    bench.jobs.whole([held_of(running)], "an earlier run")
    assert bench.jobs.held(with_ended=False, server=RUN) == [held_of(running)]
    bench.jobs.whole([held_of(running)], RUN)
    say(running, "c")
    assert bench.jobs.held(with_ended=False, server=RUN) == []
    assert bench.jobs.held(with_ended=False, server=RUN) == [held_of(running)]
    say(running, "d")
    assert bench.jobs.held(with_ended=False, server="a later run") == [held_of(running)]
    say(running, "e")
    assert bench.jobs.held(with_ended=True, server=RUN) == [held_of(running)]


def test_held_with_what_is_not_committed(bench: Bench) -> None:
    """A job that writes, and whose entries Redis does not take, is spoken for."""
    running = bench.begin()
    say(running, "a")
    bench.jobs.held(with_ended=False, server=RUN)
    bench.jobs.whole([held_of(running)], RUN)
    bench.commits = False
    say(running, "b")
    assert running.attempt.log.pending() is not None
    assert bench.jobs.held(with_ended=False, server=RUN) == [held_of(running)]


def test_whole_log_of_a_job_that_is_over(bench: Bench) -> None:
    """What was said of a job that has ended meanwhile is of no use any more."""
    running = bench.begin()
    held = held_of(running)
    bench.end(running)
    bench.jobs.whole([held], RUN)
    assert running.attempt.log.whole_on == ""


def test_held_without_a_greenlet_that_lives(bench: Bench) -> None:
    """A job whose greenlet is dead is not said to be alive, though nobody has cleared it away yet."""
    running = bench.begin(run=lambda: None)
    running.greenlet.join()
    assert bench.jobs.held(with_ended=True, server=RUN) == []


def test_ended_are_held_only_when_asked_for(bench: Bench) -> None:
    """Ends that Redis has confirmed are asked about only after it was away."""
    running = bench.begin()
    say(running, "a")
    bench.end(running)
    assert bench.jobs.held(with_ended=False, server=RUN) == []
    assert bench.jobs.held(with_ended=True, server=RUN) == [held_of(running)]


def given_up(running: Running) -> Held:
    """The job as a heartbeat asks about it once it was given up: nobody knows how far others went on with it."""
    return Held(running.attempt.log.job_id, running.attempt.log.fence, 0, SENT_UNKNOWN)


@pytest.mark.parametrize("outcome", [b"lost", b"cancelled"])
def test_ended_otherwise_are_asked_about(bench: Bench, outcome: bytes) -> None:
    """What is somebody else's, or was cancelled, is not ours to send again; but readers saw it, and Redis may lose that
    it ever was."""
    running = bench.begin()
    say(running, "a")
    running.attempt.log.answered(outcome)
    bench.jobs.end(running)
    assert bench.jobs.held(with_ended=False, server=RUN) == []
    assert bench.jobs.held(with_ended=True, server=RUN) == [given_up(running)]
    bench.jobs.answered(given_up(running), 1)
    assert bench.changed == []


def test_ended_are_forgotten_when_redis_had_all_long_after(bench: Bench) -> None:
    """Entries are kept until Redis was seen whole more than their time after the end."""
    running = bench.begin()
    bench.end(running)
    bench.jobs.forget(bench.clock.now + KEEP_S)
    assert bench.jobs.held(with_ended=True, server=RUN) == [held_of(running)]
    bench.jobs.forget(bench.clock.now + KEEP_S + 1)
    assert bench.jobs.held(with_ended=True, server=RUN) == []


def test_end_that_redis_lost_is_sent_again(bench: Bench) -> None:
    """Redis has less than it confirmed: what is missing is pending again, held like what runs, and not forgotten; it
    counts as ended once Redis has it."""
    running = bench.begin()
    say(running, "a", "b")
    bench.end(running)
    log = running.attempt.log
    bench.commits = False
    bench.jobs.answered(held_of(running), 2)
    assert bench.changed == [log]
    assert log.pending() is not None
    bench.jobs.forget(bench.clock.now + KEEP_S + 1)
    assert bench.jobs.held(with_ended=False, server=RUN) == [Held(log.job_id, "fence0", 2, 4)]
    log.answered(log.last)
    assert bench.jobs.held(with_ended=False, server=RUN) == []
    bench.jobs.forget(bench.clock.now + KEEP_S + 1)
    assert bench.jobs.held(with_ended=True, server=RUN) == []


def test_entries_that_redis_lost_are_sent_again(bench: Bench) -> None:
    """The same for a job that runs."""
    running = bench.begin()
    say(running, "a", "b")
    bench.commits = False
    bench.jobs.answered(held_of(running), 1)
    assert bench.changed == [running.attempt.log]
    assert not running.greenlet.dead


def test_kept_bytes_are_bounded(bench: Bench) -> None:
    """Beyond a bound the oldest ends are let go first."""
    runs = [bench.begin(number) for number in range(4)]
    for running in runs:
        say(running, "x" * (20 * MIB))
        bench.end(running)
    kept = bench.jobs.held(with_ended=True, server=RUN)
    assert kept == [held_of(running) for running in runs[1:]]


@pytest.mark.parametrize("answer", [b"lost", b"cancelled"])
def test_job_that_is_over_is_stopped(bench: Bench, answer: bytes) -> None:
    """What a heartbeat learns of a silent job reaches its greenlet."""
    running = bench.begin()
    bench.jobs.answered(held_of(running), answer)
    running.greenlet.join(60)
    assert isinstance(running.greenlet.value or running.greenlet.exception, AttemptOver | gevent.GreenletExit)
    assert running.attempt.log.outcome == answer.decode()


def test_answer_that_comes_too_late(bench: Bench) -> None:
    """The heartbeat's thread speaks of a moment ago: what is not held any more is nobody's business."""
    running = bench.begin()
    held = held_of(running)
    running.attempt.log.answered(b"lost")
    bench.jobs.end(running)
    for answer in (b"ok", b"lost", b"cancelled", 1):
        bench.jobs.answered(held, answer)
    gevent.sleep(0)
    assert (bench.changed, bench.adopted, bench.disowned) == ([], [], [])


def test_end_whose_answer_is_under_way(bench: Bench) -> None:
    """A heartbeat may say that a job is not ours any more because its end is there: the end is kept as any other."""
    bench.commits = False
    running = bench.begin()
    running.attempt.log.end(Status.SUCCEEDED, Kind.DONE, {"finish_reason": "stop"}, None)
    assert running.attempt.log.pending() is not None
    bench.jobs.answered(held_of(running), b"lost")
    running.attempt.log.answered(2)
    bench.jobs.end(running)
    assert bench.jobs.held(with_ended=True, server=RUN) == [held_of(running)]


def test_claim_that_redis_lost_is_adopted(bench: Bench) -> None:
    """Nobody holds the job: it is asked for again, once however often that is said, nothing is sent meanwhile, and
    then all that Redis does not have."""
    running = bench.begin()
    say(running, "a", "b")
    bench.answers = [1]
    bench.commits = False
    for _ in range(3):
        bench.jobs.answered(held_of(running), b"unclaimed")
    assert running.attempt.log.pending() is None
    gevent.sleep(0)
    assert bench.adopted == [running.attempt.claim]
    pending = running.attempt.log.pending()
    assert pending is not None
    assert pending[2:4] == [2, 2]
    assert bench.changed == [running.attempt.log]


def test_claim_of_an_ended_job_that_redis_lost_is_adopted(bench: Bench) -> None:
    """Even the claim of a job that has ended since can be lost; all of it is sent again, the end included."""
    running = bench.begin()
    say(running, "a")
    bench.end(running)
    bench.answers = [1]
    bench.commits = False
    bench.jobs.answered(held_of(running), b"unclaimed")
    gevent.sleep(0)
    pending = running.attempt.log.pending()
    assert pending is not None
    assert pending[2:4] == [2, 2]
    assert pending[4]


@pytest.mark.parametrize("answer", [b"lost", b"cancelled"])
def test_claim_that_somebody_else_got_meanwhile(bench: Bench, answer: bytes) -> None:
    """An adoption that is refused ends the attempt."""
    running = bench.begin()
    bench.answers = [answer]
    bench.jobs.answered(held_of(running), b"unclaimed")
    running.greenlet.join(60)
    assert running.attempt.log.outcome == answer.decode()


def test_adoption_while_redis_is_away(bench: Bench) -> None:
    """It is asked again until there is an answer."""
    running = bench.begin()
    bench.answers = [StoreUnavailable("away"), StoreUnavailable("away"), 1]
    bench.jobs.answered(held_of(running), b"unclaimed")
    with gevent.Timeout(60):
        while len(bench.adopted) < 3:
            gevent.sleep(0.05)
    assert running.attempt.log.outcome is None
    assert not running.attempt.log.unclaimed


def test_given_up_is_asked_about_when_redis_was_away(bench: Bench) -> None:
    """A job that was handed back is nobody's, but Redis may have lost the whole attempt, whose entries readers saw: for
    as long as an end is kept, it is asked whether it knows of it."""
    running = bench.begin()
    say(running, "a")
    bench.jobs.end(running)
    assert bench.jobs.held(with_ended=False, server=RUN) == []
    assert bench.jobs.held(with_ended=True, server=RUN) == [given_up(running)]
    bench.jobs.answered(given_up(running), b"lost")
    bench.jobs.forget(bench.clock.now + KEEP_S + 1)
    assert bench.jobs.held(with_ended=True, server=RUN) == []
    assert bench.disowned == []


def test_claim_that_cannot_be_run_is_asked_about(bench: Bench) -> None:
    """The same for a claim that was handed back before an attempt was made of it."""
    running = bench.begin()
    del bench.jobs.running[running.attempt.log.job_id, running.attempt.log.fence]
    bench.jobs.give_up(running.attempt.claim)
    assert bench.jobs.held(with_ended=True, server=RUN) == [given_up(running)]


def test_hand_back_under_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """From before Redis is asked to take a job back, no heartbeat says how much of its log there should be: the answer
    may be lost, and somebody else may go on with it meanwhile."""
    said: list[Held] = []

    def hand_back(*_args: object, **_options: object) -> str:
        said.extend(bench.jobs.held(with_ended=False, server=RUN))
        return "queued"

    monkeypatch.setattr(Claims, "hand_back", hand_back)
    running = bench.begin(backend=Stopped())
    say(running, "a")
    running.attempt.run()
    assert said == [Held(running.attempt.log.job_id, "fence0", 2, SENT_UNKNOWN)]


def test_given_up_that_redis_lost_is_disowned(bench: Bench) -> None:
    """Where Redis knows nothing of the attempt it is told so, until it has heard; never adopted again."""
    running = bench.begin()
    say(running, "a")
    bench.jobs.end(running)
    held = bench.jobs.held(with_ended=True, server=RUN)[0]
    bench.answers = [StoreUnavailable("away"), None]
    for _ in range(3):
        bench.jobs.answered(held, b"unclaimed")
    gevent.sleep(0)
    assert bench.jobs.held(with_ended=False, server=RUN) == [held]
    bench.jobs.forget(bench.clock.now + KEEP_S + 1)
    with gevent.Timeout(60):
        while bench.answers:
            gevent.sleep(0.05)
    assert bench.disowned == [running.attempt.claim] * 2
    assert bench.jobs.held(with_ended=False, server=RUN) == []
    assert (bench.adopted, bench.changed) == ([], [])
