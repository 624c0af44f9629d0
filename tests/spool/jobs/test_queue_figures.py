"""The figures of a model's queue."""

from __future__ import annotations

import time

import pytest

from spool.jobs.job import Priority
from spool.jobs.queue_figures import read_figures
from spool.jobs.shards import Shard
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import HandWorker, age, submit

pytestmark = pytest.mark.one_shard


def test_figures_of_a_queue(link: RedisLink) -> None:
    """Waiting and running jobs are counted by model, and the one that waits longest is named for each class."""
    assert read_figures(Shard(0, link)) == []
    submit(link)
    HandWorker(link).take()
    old, _young = submit(link), submit(link)
    batch = submit(link, priority=Priority.BATCH)
    hour_ago_ms = int(time.time() * 1000) - 3_600_000
    age(link, old.id, created_ms=hour_ago_ms)
    (figures,) = read_figures(Shard(0, link))
    assert (figures.model, figures.waiting, figures.running) == ("demo", 3, 1)
    assert {priority: job_id for priority, (job_id, _age) in figures.oldest.items()} == {
        Priority.INTERACTIVE: old.id,
        Priority.BATCH: batch.id,
    }
    assert figures.oldest[Priority.INTERACTIVE][1] >= 3600
    assert figures.oldest[Priority.BATCH][1] < 3600


def test_job_that_ran_before(link: RedisLink) -> None:
    """A job that was handed back waits as an interactive one."""
    submit(link)
    worker = HandWorker(link)
    claim = worker.take()
    worker.claims.hand_back(claim.job.id, claim.fence, counts=False)
    assert read_figures(Shard(0, link))[0].oldest.keys() == {Priority.INTERACTIVE}


def test_keys_that_are_damaged(link: RedisLink) -> None:
    """A key of another type counts nothing."""
    submit(link)
    link.call("SET", f"{prefix(0)}pending:demo", "x")
    (figures,) = read_figures(Shard(0, link))
    assert (figures.waiting, figures.oldest) == (0, {})
