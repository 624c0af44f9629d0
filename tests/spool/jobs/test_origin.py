"""A job's origin in its record."""

from __future__ import annotations

from spool.jobs.origin import UNKNOWN, Origin
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, record, store_of, submit

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_origin_is_kept(link: RedisLink) -> None:
    """The store and a claim show the origin that a submit gave."""
    origin = Origin("r1", TRACE)
    job = submit(link, origin=origin)
    assert job.origin == origin
    assert store_of(link).look(job.id, OWNER).origin == origin
    assert HandWorker(link).take().job.origin == origin


def test_job_without_an_origin(link: RedisLink) -> None:
    """An unknown origin takes no room in the record, and a record of an earlier version has none."""
    job = submit(link)
    assert not {"request_id", "traceparent"} & set(record(link, job.id))
    assert store_of(link).look(job.id, OWNER).origin == UNKNOWN
