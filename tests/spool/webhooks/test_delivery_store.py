"""Deliveries: the order in which they are leased, how long they wait, and what their owners see."""

from __future__ import annotations

import orjson
import pytest

from spool.errors import DeliveriesFull, DeliveryNotFound
from spool.redis.link import RedisLink
from spool.webhooks.delivery import Delivery, DeliveryState
from spool.webhooks.delivery_store import OWNER_SENDING_AT_MOST, SENDING_AT_MOST, Deliveries, Result
from spool.webhooks.endpoint_store import Endpoints
from tests.by_hand import OWNER, shards_of, store_of, submit
from tests.spool.webhooks.outbox import P, pass_pauses, post

URL, OTHER = "https://one.example/", "https://other.example/"
DOWN = Result("failed", error="Connection refused")
REFUSED = Result("failed", 500, "the receiver answered 500", is_answered=True)
DELIVERED = Result("delivered", 204)


@pytest.fixture
def deliveries(link: RedisLink) -> Deliveries:
    """The deliveries, whose pauses have no jitter."""
    return Deliveries(shards_of(link), jitter=lambda: 1.0)


def take(link: RedisLink, deliveries: Deliveries, most: int = 100) -> list[Delivery]:
    """What a worker leases."""
    return deliveries.take(next(iter(shards_of(link))), most)


def settle(link: RedisLink, deliveries: Deliveries, delivery: Delivery, result: Result) -> float:
    """The result of an attempt."""
    return deliveries.settle(next(iter(shards_of(link))), delivery, result)


def state_of(link: RedisLink, delivery: Delivery) -> str:
    """The state of a delivery as it is stored."""
    found: bytes = link.call("HGET", f"{P}delivery:{delivery.id}", "state")
    return found.decode()


def pause_of(link: RedisLink, lane: str) -> int:
    """The seconds from the last failure to the end of a lane's pause."""
    (since, until) = link.call("HMGET", f"{P}lane-state:{lane}", "since_ms", "paused_until_ms")
    return round((int(until) - int(since)) / 1000)


def test_lane_is_leased_in_order_and_up_to_its_limit(link: RedisLink, deliveries: Deliveries) -> None:
    """A receiver gets a few deliveries at a time, in the order of the ends; each is leased once."""
    jobs = [post(link, URL) for _ in range(SENDING_AT_MOST + 2)]
    first = take(link, deliveries)
    assert [each.subject for each in first] == jobs[:SENDING_AT_MOST]
    pause = link.call("ZRANGE", f"{P}lanes", 0, -1, "WITHSCORES")
    assert len(pause) == 2
    assert take(link, deliveries) == []
    settle(link, deliveries, first[0], DELIVERED)
    assert [each.subject for each in take(link, deliveries)] == jobs[SENDING_AT_MOST:][:1]


def test_owner_has_a_limit_over_all_receivers(link: RedisLink, deliveries: Deliveries) -> None:
    """Many receivers of one owner do not take all attempts: another owner's delivery is leased as well."""
    for number in range(OWNER_SENDING_AT_MOST + 2):
        post(link, f"https://r{number}.example/")
    theirs = post(link, URL, owner="bob")
    taken = take(link, deliveries)
    assert len([each for each in taken if each.owner == OWNER]) == OWNER_SENDING_AT_MOST
    assert [each.subject for each in taken if each.owner == "bob"] == [theirs]


def test_receiver_that_is_down_is_tried_by_one_delivery_and_keeps_the_order(
    link: RedisLink, deliveries: Deliveries
) -> None:
    """Failures of attempts at the same time pause the lane once. Then the first delivery alone is tried; after its
    success the others follow in order. Another receiver is not held up."""
    jobs = [post(link, URL) for _ in range(3)]
    taken = take(link, deliveries)
    for each in taken:
        settle(link, deliveries, each, DOWN)
    assert pause_of(link, taken[0].record["lane"]) == 5
    other = post(link, OTHER)
    assert [each.subject for each in take(link, deliveries)] == [other]
    pass_pauses(link)
    (first,) = (each for each in take(link, deliveries) if each.url == URL)
    assert first.subject == jobs[0]
    settle(link, deliveries, first, DELIVERED)
    assert [each.subject for each in take(link, deliveries)] == jobs[1:]


def test_pauses_grow_to_six_hours(link: RedisLink, deliveries: Deliveries) -> None:
    """Each failure doubles the pause from 5 s on, up to 6 h."""
    post(link, URL)
    pauses = []
    for _ in range(14):
        (delivery,) = take(link, deliveries)
        lane = delivery.record["lane"]
        settle(link, deliveries, delivery, DOWN)
        link.call("HSET", f"{P}lane-state:{lane}", "since_ms", link.call("TIME")[0] + b"000")
        pauses.append(pause_of(link, lane))
        pass_pauses(link)
    assert [round(each, -1) for each in pauses[1:4]] == [10, 20, 40]
    assert max(pauses) <= 21_601 <= pauses[-1] + 2


def test_receiver_says_when(link: RedisLink, deliveries: Deliveries) -> None:
    """Its Retry-After prolongs the pause."""
    post(link, URL)
    (delivery,) = take(link, deliveries)
    settle(link, deliveries, delivery, Result("failed", 429, "busy", retry_after_s=300))
    assert pause_of(link, delivery.record["lane"]) == 300


def test_delivery_that_is_refused_again_and_again_stands_aside(link: RedisLink, deliveries: Deliveries) -> None:
    """After three answered failures a delivery waits on its own, and those behind it are tried."""
    poison, next_one = post(link, URL), post(link, URL)
    for _ in range(3):
        (delivery, *_) = taken = take(link, deliveries)
        assert delivery.subject == poison
        settle(link, deliveries, delivery, REFUSED)
        for each in taken[1:]:
            settle(link, deliveries, each, DOWN)
        pass_pauses(link)
    assert [each.subject for each in take(link, deliveries, 1)] == [next_one]


def test_lease_of_a_dead_worker_ends(link: RedisLink, deliveries: Deliveries) -> None:
    """A delivery whose worker died is leased again under the same id; the result of the first attempt no longer
    counts."""
    post(link, URL)
    (lost,) = take(link, deliveries)
    assert take(link, deliveries) == []
    pass_pauses(link)
    (again,) = take(link, deliveries)
    assert (again.id, again.attempts) == (lost.id, 2)
    settle(link, deliveries, lost, DOWN)
    assert state_of(link, again) == "pending"
    settle(link, deliveries, again, DELIVERED)
    assert state_of(link, again) == "delivered"
    settle(link, deliveries, again, DOWN)
    assert state_of(link, again) == "delivered"


def test_delivery_is_given_up_after_three_days(link: RedisLink, deliveries: Deliveries) -> None:
    """After three days of failures a delivery has failed, and so has each that waited behind it that long."""
    post(link, URL)
    post(link, URL)
    # Within the millisecond of its post a delivery is not due.
    pass_pauses(link)
    (first, second) = take(link, deliveries)
    for each in (first, second):
        link.call("HSET", f"{P}delivery:{each.id}", "tried_from_ms", 1)
    settle(link, deliveries, first, DOWN)
    assert state_of(link, first) == "failed"
    pass_pauses(link)
    assert take(link, deliveries) == []
    assert state_of(link, second) == "failed"
    assert link.call("ZCARD", f"{P}lanes") == 0


def test_settled_deliveries_are_bounded(link: RedisLink, deliveries: Deliveries) -> None:
    """Of an owner's ended deliveries the last thousand are kept."""
    members = [value for number in range(1000) for value in (number, f"msg_{number}")]
    link.call("ZADD", f"{P}settled-deliveries:{OWNER}", *members)
    link.call("ZADD", f"{P}deliveries:{OWNER}", *members)
    post(link, URL)
    (delivery,) = take(link, deliveries)
    settle(link, deliveries, delivery, DELIVERED)
    assert link.call("ZCARD", f"{P}settled-deliveries:{OWNER}") <= 1000
    assert state_of(link, delivery) == "delivered"


def test_settled_deliveries_of_all_owners_are_bounded(link: RedisLink, deliveries: Deliveries) -> None:
    """Beyond 50,000 ended deliveries of all owners the oldest are deleted, whose ever they are."""
    now_ms = int(link.call("TIME")[0]) * 1000 - 60_000
    link.call("ZADD", f"{P}settled-of-all", *[part for n in range(49_998) for part in (now_ms + 1, f"eve msg_{n}")])
    for name in ("old", "older"):
        link.call("HSET", f"{P}delivery:{name}", "id", name, "owner", "eve")
        link.call("ZADD", f"{P}settled-of-all", now_ms, f"eve {name}")
        for key in ("deliveries:eve", "settled-deliveries:eve"):
            link.call("ZADD", f"{P}{key}", now_ms, name)
    post(link, URL)
    (delivery,) = take(link, deliveries)
    assert link.call("ZRANGE", f"{P}outstanding-deliveries", 0, -1) == [delivery.id.encode()]
    settle(link, deliveries, delivery, DELIVERED)
    assert link.call("ZCARD", f"{P}settled-of-all") == 50_000
    assert link.call("ZCARD", f"{P}outstanding-deliveries") == 0
    assert link.call("EXISTS", f"{P}delivery:old", f"{P}delivery:older") == 1
    assert link.call("ZCARD", f"{P}deliveries:eve") == link.call("ZCARD", f"{P}settled-deliveries:eve") == 1
    deliveries.replay(delivery.id, OWNER)
    assert link.call("ZRANGE", f"{P}outstanding-deliveries", 0, -1) == [delivery.id.encode()]
    assert link.call("ZSCORE", f"{P}settled-of-all", f"{OWNER} {delivery.id}") is None


def test_deleted_job_leaves_no_metadata(link: RedisLink, deliveries: Deliveries) -> None:
    """A delivery that has ended loses the metadata of a deleted job at once; an outstanding one sends it first."""
    store, endpoint = store_of(link), Endpoints(shards_of(link)).create(OWNER, OTHER, []).id
    own = orjson.dumps({"url": URL, "events": "", "lane": f"{OWNER}/0123456789ab"}).decode()
    job, kept = (submit(link, webhook=own, metadata={"k": "v"}) for _ in range(2))
    for one in (job, kept):
        store.cancel(one.id, OWNER)
    of_job = {each.endpoint: each for each in take(link, deliveries) if each.subject == job.id}
    assert of_job.keys() == {"", endpoint}
    settle(link, deliveries, of_job[""], DELIVERED)
    store.delete(job.id, OWNER)

    def metadata(delivery_id: str) -> bytes:
        return bytes(link.call("HGET", f"{P}delivery:{delivery_id}", "metadata"))

    assert [metadata(of_job[name].id) for name in ("", endpoint)] == [b"", b'{"k":"v"}']
    settle(link, deliveries, of_job[endpoint], DELIVERED)
    assert metadata(of_job[endpoint].id) == b""
    assert metadata(f"msg_{kept.id}_own") == b'{"k":"v"}'
    assert deliveries.replay(of_job[""].id, OWNER).id == of_job[""].id


def test_replay_tries_again_at_once(link: RedisLink, deliveries: Deliveries) -> None:
    """A delivery that has ended, or waits in a pause, is tried again under its id."""
    post(link, URL)
    (delivery,) = take(link, deliveries)
    settle(link, deliveries, delivery, Result("over", 410, "gone"))
    assert deliveries.replay(delivery.id, OWNER).id == delivery.id
    (again,) = take(link, deliveries)
    assert again.id == delivery.id
    settle(link, deliveries, again, DOWN)
    assert take(link, deliveries) == []
    deliveries.replay(delivery.id, OWNER)
    assert [each.id for each in take(link, deliveries)] == [delivery.id]


@pytest.mark.parametrize(
    "name", ["", "msg_x", "msg_j9-" + "0" * 26 + "_own", "msg_j0-" + "0" * 26 + "_own", "x" * 5000]
)
def test_replay_of_an_unknown_delivery(deliveries: Deliveries, name: str) -> None:
    """An unknown id is not found."""
    with pytest.raises(DeliveryNotFound):
        deliveries.replay(name, OWNER)


def test_replay_is_the_owners_alone_and_within_its_limit(link: RedisLink, deliveries: Deliveries) -> None:
    """Another owner's delivery is not found; with too many outstanding ones, none is added."""
    post(link, URL)
    (delivery,) = take(link, deliveries)
    settle(link, deliveries, delivery, DELIVERED)
    with pytest.raises(DeliveryNotFound):
        deliveries.replay(delivery.id, "bob")
    members = [value for number in range(10_000) for value in (1, f"msg_{number}")]
    link.call("ZADD", f"{P}deliveries:{OWNER}", *members)
    with pytest.raises(DeliveriesFull):
        deliveries.replay(delivery.id, OWNER)


def test_list_is_newest_first_in_pages(link: RedisLink, deliveries: Deliveries) -> None:
    """Pages follow each other without a gap; filters leave out the rest, and other owners see nothing."""
    jobs = [post(link, URL) for _ in range(5)]
    (first, *_) = take(link, deliveries)
    settle(link, deliveries, first, DELIVERED)
    page = deliveries.newest(OWNER, limit=3, cursor=None)
    rest = deliveries.newest(OWNER, limit=3, cursor=page.cursor)
    assert [each.subject for each in (*page.deliveries, *rest.deliveries)] == jobs[::-1]
    assert rest.cursor is None
    (done,) = deliveries.newest(OWNER, limit=9, cursor=None, state=DeliveryState.DELIVERED).deliveries
    assert (done.subject, done.last_status, done.attempts) == (jobs[0], 204, 1)
    assert deliveries.newest(OWNER, limit=9, cursor=None, endpoint="we_1").deliveries == []
    assert deliveries.newest("bob", limit=9, cursor=None).deliveries == []


def test_damaged_records_hold_up_nothing(link: RedisLink, deliveries: Deliveries) -> None:
    """A delivery whose record is gone, of another type or cannot be decoded leaves its lane, and the next is leased."""
    post(link, URL)
    post(link, URL)
    post(link, URL)
    good = post(link, URL)
    keys = [f"{P}delivery:{each.id}" for each in deliveries.newest(OWNER, limit=9, cursor=None).deliveries[::-1]]
    link.call("DEL", keys[0])
    link.call("DEL", keys[1])
    link.call("SET", keys[1], "x")
    link.call("HSET", keys[2], "at_us", "x")
    assert [each.subject for each in take(link, deliveries)] == [good]
    assert [each.subject for each in deliveries.newest(OWNER, limit=9, cursor=None).deliveries] == [good]
    assert link.call("HGET", keys[2], "state") == b"failed"


def test_owner_with_many_receivers_is_not_looked_at_again_and_again(link: RedisLink, deliveries: Deliveries) -> None:
    """At its limit, the lanes of an owner come back spread over time, and so leave calls for those of others."""
    link.call("ZADD", f"{P}sending-of:{OWNER}", *(v for n in range(OWNER_SENDING_AT_MOST) for v in (9e15, f"msg_{n}")))
    link.call("ZADD", f"{P}lanes", *(value for n in range(300) for value in (1, f"{OWNER} {OWNER}/{n:012x}")))
    for n in range(300):
        link.call("ZADD", f"{P}lane:{OWNER}/{n:012x}", 1, f"msg_{n}")
    assert take(link, deliveries) == []
    seconds, _ = link.call("TIME")
    assert link.call("ZCOUNT", f"{P}lanes", 2, (int(seconds) + 5) * 1000) < 100
