"""The outbox (lua/lib/outbox.lua): the script that ends a job posts its event."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from rig.batches import create, feed
from spool.batches.batch import BatchOptions, OnBadLine
from spool.batches.line import BadLine
from spool.ids import new_batch_id
from spool.keys import job as job_key
from spool.keys import prefix
from spool.redis.link import RedisLink
from spool.webhooks.delivery import Delivery
from spool.webhooks.delivery_store import Deliveries
from spool.webhooks.endpoint_store import Endpoints
from tests.by_hand import OWNER, HandWorker, age, done, keep, record, shards_of, store_of, submit

OWN = orjson.dumps({"url": "https://own.example/", "events": "", "lane": f"{OWNER}/0123456789ab"}).decode()
LENGTH = orjson.dumps({"status": "succeeded", "finish_reason": "length"})
P = prefix(0)


def posted(link: RedisLink) -> list[Delivery]:
    """The deliveries of the owner, oldest first."""
    return Deliveries(shards_of(link)).newest(OWNER, limit=100, cursor=None).deliveries[::-1]


def keys_of_outbox(link: RedisLink) -> list[bytes]:
    """The keys of the outbox that exist."""
    names = ("delivery:*", "deliveries:*", "lane*", "sending*", "dropped*", "settled*", "outstanding*")
    return [key for name in names for key in link.call("KEYS", f"{P}{name}")]


def end(link: RedisLink, how: str, **fields: Any) -> str:
    """The id of a job that ends like this."""
    worker, job_id = HandWorker(link), submit(link, webhook=OWN, **fields).id
    if how == "succeeded":
        worker.finish(worker.take_job(job_id))
    elif how == "cancelled while it runs":
        claim = worker.take_job(job_id)
        store_of(link).cancel(job_id, OWNER)
        worker.append(claim, claim.first, [])
    elif how == "cancelled":
        store_of(link).cancel(job_id, OWNER)
    elif how == "failed":
        age(link, job_id, deadline_ms=1)
        keep(link, lease_ms=60_000)
    return job_id


@pytest.mark.parametrize("how", ["succeeded", "cancelled", "cancelled while it runs", "failed"])
def test_each_end_posts_one_event(link: RedisLink, how: str) -> None:
    """However a job ends, its event is there with its end, once, and not before."""
    job_id = end(link, how, metadata={"k": "v"})
    (delivery,) = posted(link)
    status = how.partition(" ")[0]
    assert record(link, job_id)["status"] == status
    assert (delivery.type, delivery.subject, delivery.url) == (f"job.{status}", job_id, "https://own.example/")
    assert delivery.record["metadata"] == '{"k":"v"}'
    assert link.call("ZRANGE", f"{P}lanes", 0, -1) == [f"{OWNER} {OWNER}/0123456789ab".encode()]


def test_end_that_is_sent_twice_posts_one_event(link: RedisLink) -> None:
    """A worker that lost the answer of its end sends it again: nothing is posted twice."""
    worker = HandWorker(link)
    submit(link, webhook=OWN)
    claim = worker.take()
    worker.finish(claim)
    worker.finish(claim)
    assert len(posted(link)) == 1


def test_job_without_a_receiver_posts_nothing(link: RedisLink) -> None:
    """The end of a job without a webhook, of an owner without endpoints, writes no key of the outbox."""
    worker = HandWorker(link)
    Endpoints(shards_of(link)).create("bob", "https://bob.example/", [])
    submit(link)
    worker.finish(worker.take())
    assert keys_of_outbox(link) == []


def test_endpoints_get_the_events_that_they_want(link: RedisLink) -> None:
    """An endpoint gets the events of its list, or all; the job's own webhook likewise."""
    endpoints, worker = Endpoints(shards_of(link)), HandWorker(link)
    every = endpoints.create(OWNER, "https://all.example/", [])
    endpoints.create(OWNER, "https://failed.example/", ["job.failed", "job.cancelled"])
    submit(link, webhook=OWN.replace('"events":""', '"events":"job.failed"'))
    worker.finish(worker.take())
    assert [delivery.endpoint for delivery in posted(link)] == [every.id]


def test_job_of_a_batch_has_an_event_only_if_its_line_names_a_webhook(link: RedisLink) -> None:
    """Endpoints hear of the batch, and not of each of its jobs."""
    endpoints, worker, batch = Endpoints(shards_of(link)), HandWorker(link), new_batch_id(0)
    endpoints.create(OWNER, "https://all.example/", [])
    store_of(link).open_batch(batch, OWNER, 2, ttl_s=60, timeout_s=60)
    submit(link, id=f"j0-{'1' * 26}", batch=batch)
    named = submit(link, id=f"j0-{'2' * 26}", batch=batch, webhook=OWN)
    for _ in range(2):
        worker.finish(worker.take())
    assert [(each.subject, each.endpoint) for each in posted(link)] == [(named.id, "")]


def test_responses_have_the_names_of_openai(link: RedisLink) -> None:
    """A job of /v1/responses is completed, incomplete if it was cut, or cancelled."""
    worker = HandWorker(link)
    for ending in (None, LENGTH):
        submit(link, webhook=OWN, surface="responses")
        claim = worker.take()
        worker.append(claim, claim.first, [done(claim.first)], ending=ending) if ending else worker.finish(claim)
    store_of(link).cancel(submit(link, webhook=OWN, surface="responses").id, OWNER)
    assert [each.type for each in posted(link)] == ["response.completed", "response.incomplete", "response.cancelled"]


def test_endpoint_with_few_outstanding_deliveries_gets_its_events(link: RedisLink) -> None:
    """Beyond that limit, an endpoint with fewer than 100 outstanding deliveries still gets its events."""
    endpoints = Endpoints(shards_of(link))
    down, up = (endpoints.create(OWNER, f"https://{name}.example/", []).id for name in ("a", "b"))
    members = [value for number in range(10_000) for value in (1, f"msg_{number}")]
    link.call("ZADD", f"{P}deliveries:{OWNER}", *members)
    link.call("ZADD", f"{P}lane:{down}", *members[:200])
    store_of(link).cancel(submit(link).id, OWNER)
    assert [raw.decode().rpartition("_we_")[2] for raw in link.call("KEYS", f"{P}delivery:*")] == [
        up.removeprefix("we_")
    ]
    assert Endpoints(shards_of(link)).dropped(OWNER) == 1


def test_owner_with_too_many_outstanding_deliveries_loses_events(link: RedisLink) -> None:
    """Beyond 10,000 outstanding deliveries an event is dropped and counted, and the job still ends."""
    members = [value for number in range(10_000) for value in (1, f"msg_{number}")]
    link.call("ZADD", f"{P}deliveries:{OWNER}", *members)
    job_id = end(link, "cancelled")
    assert record(link, job_id)["status"] == "cancelled"
    assert link.call("KEYS", f"{P}delivery:*") == []
    assert Endpoints(shards_of(link)).dropped(OWNER) == 1


@pytest.mark.parametrize(
    ("of_all", "own", "is_posted"), [(24_999, 500, True), (25_000, 99, True), (25_000, 100, False), (50_000, 0, False)]
)
def test_outbox_of_all_owners_is_bounded(link: RedisLink, of_all: int, own: int, is_posted: bool) -> None:
    """From 25,000 outstanding deliveries of all owners on, an owner with 100 loses events; from 50,000 on, all do."""
    now_ms = int(link.call("TIME")[0]) * 1000
    members = [value for number in range(of_all) for value in (now_ms, f"msg_{number}")]
    link.call("ZADD", f"{P}outstanding-deliveries", *members)
    if own:
        link.call("ZADD", f"{P}deliveries:{OWNER}", *members[: 2 * own])
    end(link, "cancelled")
    assert bool(link.call("KEYS", f"{P}delivery:*")) is is_posted
    assert Endpoints(shards_of(link)).dropped(OWNER) == (0 if is_posted else 1)


def test_deliveries_that_were_lost_do_not_count_for_ever(link: RedisLink) -> None:
    """What has been outstanding for longer than a delivery is tried has been lost."""
    link.call("ZADD", f"{P}outstanding-deliveries", *[value for n in range(50_000) for value in (1, f"msg_{n}")])
    end(link, "cancelled")
    end(link, "cancelled")
    assert len(posted(link)) == 2
    assert link.call("ZCARD", f"{P}outstanding-deliveries") == 2


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "7", '{"url":7,"lane":"x"}', '{"url":"https://x"}'),
        *('{"url":"https://x","lane":"x","events":{}}', '{"url":"https://x","lane":"x","events":null}'),
    ],
)
def test_damaged_webhook_does_not_stop_the_end(link: RedisLink, text: str) -> None:
    """A job whose webhook cannot be read ends without an event."""
    worker, job = HandWorker(link), submit(link, webhook=OWN)
    link.call("HSET", job_key(job.id), "webhook", text)
    worker.finish(worker.take())
    assert record(link, job.id)["status"] == "succeeded"
    assert posted(link) == []


def test_job_with_a_damaged_webhook_can_be_cancelled(link: RedisLink) -> None:
    """It ends without an event, although the end is not written by its worker."""
    job = submit(link, webhook=OWN)
    link.call("HSET", job_key(job.id), "webhook", '{"url":"https://x","lane":"x","events":{}}')
    store_of(link).cancel(job.id, OWNER)
    assert record(link, job.id)["status"] == "cancelled"
    assert posted(link) == []


@pytest.mark.parametrize("name", [f"endpoints:{OWNER}", f"deliveries:{OWNER}", "lanes", f"lane:{OWNER}/0123456789ab"])
def test_key_of_another_type_does_not_stop_the_end(link: RedisLink, name: str) -> None:
    """A key of another type in the outbox's place is moved away, and the event is posted."""
    link.call("SET", f"{P}{name}", "damaged")
    job_id = end(link, "succeeded")
    assert record(link, job_id)["status"] == "succeeded"
    assert [each.subject for each in posted(link)] == [job_id]
    assert link.call("EXISTS", f"{P}displaced:{name}") == 1


def run_out(link: RedisLink) -> None:
    """Run and feed until no line of a batch is left."""
    worker = HandWorker(link)
    feed(link)
    while claim := worker.claim():
        worker.finish(claim)
        feed(link)


@pytest.mark.parametrize("state", ["completed", "cancelled", "expired", "failed"])
def test_each_end_of_a_batch_posts_one_event(link: RedisLink, state: str) -> None:
    """A batch's end is one event, to its own webhook and to the owner's endpoints; its lines post none."""
    Endpoints(shards_of(link)).create(OWNER, "https://all.example/", [])
    options = BatchOptions(webhook=OWN, metadata={"k": "v"}, on_bad_line=OnBadLine.FAIL)
    if state == "failed":
        batch = create(link, [BadLine(0, 1, "invalid_json_line", "not JSON")], options=options)
    else:
        batch = create(link, 3, options=options)
    assert [each for each in posted(link) if state != "failed"] == []
    if state in ("cancelled", "expired"):
        link.call("HSET", f"{P}batch:{batch}", "stop", state)
    run_out(link)
    run_out(link)
    found = posted(link)
    assert {(each.subject, each.type) for each in found} == {(batch, f"batch.{state}")}
    assert sorted(bool(each.endpoint) for each in found) == [False, True]
    assert found[0].record["metadata"] == '{"k":"v"}'


def test_batch_without_a_receiver_posts_nothing(link: RedisLink) -> None:
    """The end of a batch of an owner without endpoints writes no key of the outbox."""
    create(link, 2)
    run_out(link)
    assert keys_of_outbox(link) == []


def test_damaged_batch_posts_what_can_be_read(link: RedisLink) -> None:
    """A batch whose webhook cannot be read ends without an event."""
    batch = create(link, 1, options=BatchOptions(webhook="{"))
    run_out(link)
    assert link.call("HGET", f"{P}batch:{batch}", "state") == b"completed"
    assert posted(link) == []
