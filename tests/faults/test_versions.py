"""An upgrade by one version and the way back, process by process, while hundreds read."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
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
from tests.stack import Stack, closing_stack, wait_for

STREAMS = int(os.environ.get("UPGRADE_STREAMS", "300"))
TOKENS, RATE, SHORT = 20_000, 2, 20
RESUMING = [name for name in TRANSPORTS if name != "text"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_upgrade_and_rollback_under_live_streams(directory: Path, tmp_path: Path) -> None:
    """Webs and workers are replaced by this version one after the other, and by the one before again, under 300
    readers of jobs that run all the time. Each switch is used while both versions run, on both ways. Jobs that are
    submitted meanwhile succeed, no job loses an attempt, and every reader gets every entry once."""
    version = version_before()
    if version is None or not unpack(version, tmp_path):
        pytest.skip("the history has no version before this one, as in an archive or a shallow clone")
    options = {"DRAIN_S": 3, "WORKER_DRAIN_S": 2, "concurrency": 2 * STREAMS}
    with closing_stack(Stack(directory, **options)) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        versions = Versions(stack, tmp_path)
        stack.start()
        _wait_for_commits(stack, {None})
        jobs, switches = Jobs(stack), 0
        live = _submit(jobs, crowd, STREAMS, tokens=TOKENS, rate=RATE)
        short = list[str]()
        for before in (False, True):
            for number, (web, worker) in enumerate(zip(stack.webs, stack.workers, strict=True)):
                versions.replace(web, before=before)
                versions.replace(worker, before=before)
                if number == 0:
                    _wait_for_commits(stack, {None, commit()})
                    switches += use_each_switch(stack, jobs)
                short += _submit(jobs, crowd, SHORT, tokens=20, rate=5)
            _wait_for_commits(stack, {None if before else commit()})
        jobs.wait_for_end(short, within_s=120)
        assert set(jobs.fields(short, "status")) == {"succeeded"}
        jobs.wait_for_status(live, "running")
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(jobs.cancel, live))
        jobs.wait_for_end(within_s=120)
        assert crowd.unfinished(60) == []
        assert jobs.violations(crowd.followings) == []
        assert set(jobs.fields(live, "status")) == {"cancelled"}
        assert set(jobs.fields([job.id for job in jobs.accepted], "losses")) == {"0"}
        assert broke(*stack.webs) == []
        measured(
            "upgrade and rollback by one version",
            before=version,
            streams=STREAMS,
            jobs=len(jobs.accepted),
            switches=switches,
            slowest_stop_s=round(max(versions.stopped_s), 1),
            reconnects=sum(one.reconnects for one in crowd.followings),
            shown_the_notice=sum(NOTICE in one.notices for one in crowd.followings),
            lost=0,
            doubled=0,
        )


def _submit(jobs: Jobs, crowd: Crowd, count: int, **params: int) -> list[str]:
    """So many new jobs that have begun, each with a reader."""
    ids = jobs.submit_many(count, **params)
    for number, job in enumerate(ids):
        crowd.follow(job, RESUMING[number % len(RESUMING)], within_s=1000)
    jobs.wait_for_entries(ids, 4, 120)
    return ids


def _wait_for_commits(stack: Stack, expected: set[str | None]) -> None:
    """Until the processes run these commits; the version before has none, since it lies outside its history."""
    client = stack.client()

    def running() -> set[str | None]:
        return {each.get("commit") for each in client.get("/version").json()["running"]}

    wait_for(lambda: running() == expected, f"processes of {expected} run", 120)
