"""Limits of owners through the real scripts, against a model in Python: never more running jobs than a limit of any
scope, no rate exceeded, no job that waits for nothing, and nothing counted after the ends."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.job_model.limit_machine import LimitMachine
from tests.spool.jobs.test_fair_queue_model import THOROUGH
from tests.spool.jobs.test_job_model import COMMON
from tests.stack import Redis

QUICK = settings(COMMON, max_examples=12, stateful_step_count=30, derandomize=True, database=None)


def run(redis: Redis, how: settings) -> None:
    """Run the machine on this Redis."""
    run_state_machine_as_test(type("LimitMachine", (LimitMachine,), {"link": redis.link}), settings=how)


def test_limit_model(redis: Redis) -> None:
    """Each claim gets a job that all limits allow, if there is one, whatever ends or dies meanwhile."""
    run(redis, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_limit_model_thoroughly(redis: Redis) -> None:
    """The same, longer and at random."""
    run(redis, THOROUGH)
