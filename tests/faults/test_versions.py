"""An upgrade by one version and the way back, process by process, while hundreds read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spool.build import commit
from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.switching import NOTICE, use_each_switch
from tests.faults.transports import TRANSPORTS
from tests.faults.versions import Versions, unpack, version_before
from tests.faults.vitals import broke
from tests.stack import Stack, wait_for

STREAMS = int(os.environ.get("UPGRADE_STREAMS", "300"))
TOKENS, RATE = 150, 1
RESUMING = [name for name in TRANSPORTS if name != "text"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_upgrade_and_rollback_under_live_streams(directory: Path, tmp_path: Path) -> None:
    """Webs and workers are replaced by this version one after the other, and by the one before again, under 300
    readers. Each switch is used while both versions run, on both ways. Jobs of both versions succeed without the loss
    of an attempt, and every reader gets every entry once."""
    version = version_before()
    if version is None or not unpack(version, tmp_path):
        pytest.skip("the history has no version before this one, as in an archive or a shallow clone")
    stack = Stack(directory, DRAIN_S=3, WORKER_DRAIN_S=2, concurrency=STREAMS)
    versions = Versions(stack, tmp_path)
    for process in (*stack.webs, *stack.workers):
        versions.use(process, before=True)
    try:
        stack.start()
        _wait_for_commits(stack, {None})
        with Crowd([web.url for web in stack.webs]) as crowd:
            jobs, switches, live = Jobs(stack), 0, []
            for before in (False, True):
                for number, (web, worker) in enumerate(zip(stack.webs, stack.workers, strict=True)):
                    _submit_up_to(STREAMS, jobs, crowd)
                    versions.replace(web, before=before)
                    versions.replace(worker, before=before)
                    if number == 0:
                        _wait_for_commits(stack, {None, commit()})
                        live.append(len(jobs.running()))
                        switches += use_each_switch(stack, jobs)
                _wait_for_commits(stack, {None if before else commit()})
            assert min(live) > STREAMS / 2, "the jobs are shorter than the replacements"
            jobs.wait_for_end(within_s=480)
            assert crowd.unfinished(60) == []
            assert jobs.violations(crowd.followings) == []
            every = [job.id for job in jobs.accepted]
            assert set(jobs.fields(every, "status")) == {"succeeded"}
            assert set(jobs.fields(every, "losses")) == {"0"}
            assert broke(*stack.webs) == []
            measured(
                "upgrade and rollback by one version",
                before=version,
                streams=STREAMS,
                jobs=len(jobs.accepted),
                live_while_both_ran=live,
                switches=switches,
                slowest_stop_s=round(max(versions.stopped_s), 1),
                reconnects=sum(one.reconnects for one in crowd.followings),
                shown_the_notice=sum(NOTICE in one.notices for one in crowd.followings),
                lost=0,
                doubled=0,
            )
    finally:
        stack.close()


def _submit_up_to(count: int, jobs: Jobs, crowd: Crowd) -> None:
    """Submit jobs until so many run, each with a reader. None runs yet at first, and a slow machine ends some."""
    ids = jobs.submit_many(count - len(jobs.running()), tokens=TOKENS, rate=RATE)
    for number, job in enumerate(ids):
        crowd.follow(job, RESUMING[number % len(RESUMING)], within_s=900)
    jobs.wait_for_entries(ids, 4, 120)


def _wait_for_commits(stack: Stack, expected: set[str | None]) -> None:
    """Until the processes run these commits; the version before has none, since it lies outside its history."""

    client = stack.client()

    def running() -> set[str | None]:
        return {each.get("commit") for each in client.get("/version").json()["running"]}

    wait_for(lambda: running() == expected, f"processes of {expected} run")
