"""Which jobs a list reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spool.jobs.job import Job, Status
from spool.jobs.owner_list import Wanted, newest
from spool.jobs.store import JobStore
from spool.keys import job as job_key
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, new_job, shards_of, store_of, submit


def read_by(link: RedisLink, store: JobStore, wanted: Wanted, limit: int) -> tuple[list[str], list[str]]:
    """The ids on a page, and those whose records were read for it."""
    read: list[str] = []

    def look_many(ids: Sequence[str], owner: str) -> list[Job]:
        read.extend(ids)
        return store.look_many(ids, owner)

    page = newest(shards_of(link), look_many, OWNER, wanted, limit=limit, cursor=None)
    return [job.id for job in page.jobs], read


def test_list_of_a_status_reads_the_jobs_that_match(link: RedisLink) -> None:
    """Of many jobs with another status, a list reads none."""
    store = store_of(link)
    ended = submit(link).id
    store.cancel(ended, OWNER)
    store.submit_many([new_job() for _ in range(300)], max_queued=1000)
    assert read_by(link, store, Wanted(Status.CANCELLED), limit=10) == ([ended], [ended])


def test_list_reads_no_more_than_its_limit(link: RedisLink) -> None:
    """A short page of a long list reads as many jobs as it shows."""
    store = store_of(link)
    jobs = [new_job() for _ in range(30)]
    store.submit_many(jobs, max_queued=1000)
    expected = [job.id for job in reversed(jobs)][:20]
    for wanted in (Wanted(), Wanted(Status.QUEUED)):
        assert read_by(link, store, wanted, limit=20) == (expected, expected)


def test_list_by_metadata_and_model(link: RedisLink) -> None:
    """A name, a name with its value, and a model select those jobs alone, whatever characters they have."""
    store = store_of(link)
    value = 'a "quoted", é \\ [%d+] \n'
    jobs = [
        new_job(metadata={"team": "search", "other": value}),
        new_job(metadata={"team": "searches"}),
        new_job(metadata={"note": '{"team":"search"}'}, model="other"),
        new_job(),
    ]
    store.submit_many(jobs, max_queued=1000)

    def listed(**wanted: Any) -> list[int]:
        found = {job.id for job in store.newest(OWNER, limit=50, cursor=None, **wanted).jobs}
        return [index for index, job in enumerate(jobs) if job.id in found]

    assert listed(metadata=("team", "search")) == [0]
    assert listed(metadata=("team",)) == [0, 1]
    assert listed(metadata=("other", value)) == [0]
    assert listed(metadata=("tea",)) == []
    assert listed(model="other") == [2]
    assert listed(model="other", metadata=("team",)) == []


def test_list_by_metadata_reads_the_jobs_that_match(link: RedisLink) -> None:
    """Of many jobs with other metadata, a list reads none."""
    store, wanted = store_of(link), new_job(metadata={"team": "search"})
    store.submit_many([wanted, *(new_job(metadata={"team": "ads"}) for _ in range(300))], max_queued=1000)
    assert read_by(link, store, Wanted(metadata=("team", "search")), limit=10) == ([wanted.id], [wanted.id])


def test_list_by_metadata_selects_from_few_jobs_a_call(link: RedisLink) -> None:
    """A call that reads the metadata of jobs, 9 KB each, keeps Redis from others for a short time only."""
    store_of(link).submit_many([new_job() for _ in range(120)], max_queued=1000)

    def largest(wanted: Wanted) -> int:
        """The most arguments of a call."""
        link.call("CONFIG", "SET", "slowlog-log-slower-than", 0)
        link.call("SLOWLOG", "RESET")
        read_by(link, store_of(link), wanted, limit=10)
        link.call("CONFIG", "SET", "slowlog-log-slower-than", 10_000)
        scripts = [entry[3] for entry in link.call("SLOWLOG", "GET", 100) if entry[3][0] == b"EVALSHA"]
        # Redis keeps 31 arguments and writes how many more there were: "... (93 more arguments)".
        return max(31 + int(args[-1].split()[1][1:]) for args in scripts if len(args) == 32)

    assert largest(Wanted(metadata=("team",))) < 60
    assert largest(Wanted(model="other")) > 120


def test_list_of_a_status_reads_a_record_without_one(link: RedisLink) -> None:
    """A damaged record may have any status, so its look ends the job."""
    store, job = store_of(link), submit(link).id
    link.call("HSET", job_key(job), "status", "?")
    assert read_by(link, store, Wanted(Status.FAILED), limit=10) == ([job], [job])
