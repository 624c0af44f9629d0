"""Random steps of callers, workers, the keeper and disaster, through the real scripts, against a model in Python."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test

from spool.jobs.job import OnDisconnect, OnWorkerLoss, Priority
from tests.by_hand import new_job
from tests.job_model.caller_rules import CallerRules
from tests.job_model.loss_rules import LossRules
from tests.stack import Redis

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
COMMON = settings(deadline=None, report_multiple_bugs=False, print_blob=True, suppress_health_check=SLOW)
QUICK = settings(COMMON, max_examples=12, stateful_step_count=30, derandomize=True, database=None)
EXAMPLES = int(os.environ.get("JOB_MODEL_EXAMPLES", "2000"))
THOROUGH = settings(COMMON, max_examples=EXAMPLES, stateful_step_count=60)


class JobMachine(CallerRules, LossRules):
    """All rules together."""

    @initialize(jobs=st.integers(1, 4), claims=st.integers(0, 3))
    def begin(self, jobs: int, claims: int) -> None:
        """Some jobs are there already, and some of them run."""
        for _ in range(jobs):
            self.submit_this(new_job(id=self.new_id(), continuable=True))
        for number in range(min(jobs, claims)):
            self.claim(number, "any", "demo", answer_is_lost=False)


def run(redis: Redis, how: settings) -> None:
    """Run the machine on this Redis."""
    machine = type("JobMachine", (JobMachine,), {"link": redis.link})
    run_state_machine_as_test(machine, settings=how)


def test_job_model(redis: Redis) -> None:
    """After every step Redis holds what the model says, every log is a log, and no entry that was seen has changed."""
    run(redis, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_job_model_thoroughly(redis: Redis) -> None:
    """The same, longer and at random. ``JOB_MODEL_EXAMPLES`` says how many examples."""
    run(redis, THOROUGH)


def play(redis: Redis, *steps: tuple[str, dict[str, Any]]) -> None:
    """These steps, with what is compared after each."""
    machine = type("JobMachine", (JobMachine,), {"link": redis.link})()
    for name, arguments in steps:
        getattr(machine, name)(**arguments)
        machine.redis_is_as_the_ledger_says()


def test_batch_after_its_last_job(redis: Redis) -> None:
    """A batch is kept, to expire, once all of its jobs have ended, and not before."""
    in_batch = {
        "model": "demo",
        "priority": Priority.BATCH,
        "on_disconnect": OnDisconnect.CONTINUE,
        "on_worker_loss": OnWorkerLoss.RESTART,
        "key": "",
        "body": "",
        "in_batch": True,
    }
    jobs, ends = ("submit", in_batch), [("ask", {"number": number, "what": "cancel"}) for number in range(3)]
    play(redis, ("begin", {"jobs": 0, "claims": 0}), jobs, jobs, jobs, *ends)


def test_entry_whose_answer_was_lost_with_it(redis: Redis) -> None:
    """Readers saw an entry, its worker was not told, and Redis lost it: no other entry takes its id."""
    play(
        redis,
        ("begin", {"jobs": 1, "claims": 1}),
        ("generate", {"number": 0, "texts": ["a"], "tool": False, "send": False}),
        ("append", {"which": [(0, 0, 1)], "answer_is_lost": True}),
        ("redis_loses_steps", {"steps": 1, "beats": 2}),
        ("ask", {"number": 0, "what": "cancel"}),
        ("append", {"which": [(0, 0, 1)], "answer_is_lost": False}),
    )


def test_record_that_is_none_stops_no_claim(redis: Redis) -> None:
    """A queued job whose record cannot be read is passed over."""
    play(
        redis,
        ("begin", {"jobs": 2, "claims": 0}),
        ("breaks", {"number": 0, "what": "record"}),
        ("claim", {"number": 0, "wanted": "any", "names": "demo", "answer_is_lost": False}),
    )


def test_job_apart(redis: Redis) -> None:
    """A job that lost its process twice waits apart, is claimed there alone, and leaves that place when it ends."""
    claim = ("claim", {"number": 0, "wanted": "any", "names": "demo", "answer_is_lost": False})
    apart = ("claim", {"number": 0, "wanted": "apart", "names": "demo", "answer_is_lost": False})
    dies = ("time_passes", {"number": 0, "what": "lease", "keep": True})
    beat = ("beat", {"number": 1, "answer_is_lost": False})
    cancel = ("ask", {"number": 0, "what": "cancel"})
    play(redis, ("begin", {"jobs": 1, "claims": 1}), dies, claim, dies, beat, claim, apart, dies, beat, cancel, beat)


def test_torn_job_that_may_not_begin_anew(redis: Redis) -> None:
    """What has spoken, may not restart, and may have been read further than it is now, ends."""
    job = {"model": "demo", "priority": Priority.INTERACTIVE, "on_disconnect": OnDisconnect.CONTINUE}
    job |= {"on_worker_loss": OnWorkerLoss.FAIL, "key": "", "body": "d1", "in_batch": False}
    play(
        redis,
        ("submit", job),
        ("claim", {"number": 0, "wanted": "any", "names": "demo", "answer_is_lost": False}),
        ("generate", {"number": 0, "texts": ["a"], "tool": False, "send": True}),
        ("redis_loses_steps", {"steps": 0, "beats": 0}),
        ("time_passes", {"number": 0, "what": "lease", "keep": True}),
    )


def test_hand_back_that_is_lost(redis: Redis) -> None:
    """A worker gave a job up, and Redis lost that alone: nobody says that the log is whole, and it jumps."""
    play(
        redis,
        ("begin", {"jobs": 1, "claims": 1}),
        ("hand_back", {"number": 0, "counts": False, "restarts": False, "answer_is_lost": False}),
        ("redis_loses_steps", {"steps": 1, "beats": 2}),
        ("time_passes", {"number": 0, "what": "lease", "keep": True}),
        ("claim", {"number": 0, "wanted": "any", "names": "demo", "answer_is_lost": False}),
    )


def test_hand_back_that_is_lost_with_the_next_claim(redis: Redis) -> None:
    """Redis lost that a job was given up, and how another worker went on with it: whoever gave it up asks whether it is
    known, and does not thereby say that this is all there was."""
    play(
        redis,
        ("begin", {"jobs": 1, "claims": 1}),
        ("hand_back", {"number": 0, "counts": False, "restarts": False, "answer_is_lost": False}),
        ("claim", {"number": 1, "wanted": "any", "names": "demo", "answer_is_lost": False}),
        ("redis_loses_steps", {"steps": 2, "beats": 2}),
        ("time_passes", {"number": 0, "what": "deadline", "keep": True}),
    )


def test_claim_that_is_lost_with_a_cancel(redis: Redis) -> None:
    """A worker was told of a cancel, and Redis lost all of it: the next attempt does not take the ids of the first."""
    claim = ("claim", {"number": 0, "wanted": "any", "names": "demo", "answer_is_lost": False})
    play(
        redis,
        ("begin", {"jobs": 1, "claims": 0}),
        claim,
        ("ask", {"number": 0, "what": "cancel"}),
        ("beat", {"number": 0, "answer_is_lost": False}),
        ("redis_loses_steps", {"steps": 3, "beats": 2}),
        claim,
    )


def test_adoption_that_is_all_there_is(redis: Redis) -> None:
    """A worker took its lost claim again, and died before it had sent the rest again: that was not the whole log."""
    play(
        redis,
        ("begin", {"jobs": 1, "claims": 0}),
        ("claim", {"number": 0, "wanted": "any", "names": "demo", "answer_is_lost": False}),
        ("generate", {"number": 0, "texts": ["a"], "tool": False, "send": True}),
        ("redis_loses_steps", {"steps": 2, "beats": 2}),
        ("adopt", {"number": 0, "answer_is_lost": False}),
        ("breaks", {"number": 0, "what": "worker dies"}),
        ("redis_settles", {}),
        ("time_passes", {"number": 0, "what": "lease", "keep": True}),
        ("claim", {"number": 0, "wanted": "any", "names": "demo", "answer_is_lost": False}),
    )


def test_jump_that_is_lost_itself(redis: Redis) -> None:
    """Where Redis loses an attempt that began behind a jump, the next one jumps elsewhere."""
    claim = ("claim", {"number": 0, "wanted": "any", "names": "demo", "answer_is_lost": False})
    lose = ("redis_loses_steps", {"steps": 1, "beats": 0})
    play(
        redis,
        ("begin", {"jobs": 1, "claims": 0}),
        lose,
        ("redis_settles", {}),
        claim,
        lose,
        ("redis_settles", {}),
        claim,
    )


def test_claim_that_is_lost_with_its_end(redis: Redis) -> None:
    """A worker gave a job up, and Redis lost all of it: the next attempt does not take the ids of the first."""
    claim = ("claim", {"number": 0, "wanted": "any", "names": "demo", "answer_is_lost": False})
    hand_back = ("hand_back", {"number": 0, "counts": False, "restarts": False, "answer_is_lost": False})
    lose = ("redis_loses_steps", {"steps": 2, "beats": 2})
    play(redis, ("begin", {"jobs": 1, "claims": 0}), claim, hand_back, lose, claim)


def test_claim_that_ends_an_overdue_job_after_a_restart(redis: Redis) -> None:
    """Once every worker has reported after a restart of Redis, a claim ends a job past its deadline, and the ledger
    counts that job neither as queued nor as running."""
    play(
        redis,
        ("begin", {"jobs": 2, "claims": 1}),
        ("redis_loses_steps", {"steps": 0, "beats": 2}),
        ("hand_back", {"number": 0, "counts": True, "restarts": False, "answer_is_lost": False}),
        ("time_passes", {"number": 0, "what": "deadline", "keep": False}),
        ("claim", {"number": 0, "wanted": "retries", "names": "demo", "answer_is_lost": False}),
    )


def test_claim_that_ends_a_job_which_did_not_begin_in_time(redis: Redis) -> None:
    """A claim ends a job whose time to begin has passed, and gets the next one."""
    play(
        redis,
        ("begin", {"jobs": 2, "claims": 0}),
        ("time_passes", {"number": 0, "what": "start", "keep": False}),
        ("claim", {"number": 0, "wanted": "any", "names": "demo", "answer_is_lost": False}),
    )
