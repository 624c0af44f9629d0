"""The queue's policy through the real scripts, against a model in Python: order, no starvation, no job lost or begun
twice, charges that are all settled."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.job_model.fair_machine import FairMachine
from tests.spool.jobs.test_job_model import COMMON
from tests.stack import Redis

QUICK = settings(COMMON, max_examples=12, stateful_step_count=30, derandomize=True, database=None)
EXAMPLES = int(os.environ.get("JOB_MODEL_EXAMPLES", "2000"))
THOROUGH = settings(COMMON, max_examples=EXAMPLES, stateful_step_count=60)


def run(redis: Redis, how: settings, owner_limit: int) -> None:
    """Run the machine on this Redis."""
    machine = type("FairMachine", (FairMachine,), {"link": redis.link, "owner_limit": owner_limit})
    run_state_machine_as_test(machine, settings=how)


@pytest.mark.parametrize("owner_limit", [0, 2])
def test_fair_queue_model(redis: Redis, owner_limit: int) -> None:
    """Each claim gets the job that the policy names; with a limit for owners, one that may begin, if there is one."""
    run(redis, QUICK, owner_limit)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("owner_limit", [0, 2])
def test_fair_queue_model_thoroughly(redis: Redis, owner_limit: int) -> None:
    """The same, longer and at random."""
    run(redis, THOROUGH, owner_limit)
