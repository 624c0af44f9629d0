"""Deliveries to real receivers: that are down, slow, gone, or redirect."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

import openai
import pytest
from gevent.event import Event

from spool.redis.link import RedisLink
from spool.webhooks.addresses import AllowedAddresses
from spool.webhooks.deliverer import BoundedLookups, Deliverer
from spool.webhooks.delivery import Delivery, DeliveryState
from spool.webhooks.delivery_store import Deliveries
from spool.webhooks.endpoint_store import Endpoints
from spool.webhooks.sender import Sender
from spool.webhooks.signature import headers
from tests.by_hand import OWNER, shards_of
from tests.spool.webhooks.outbox import P, pass_pauses, post
from tests.webhook_receiver import Receiver, receiving

LOOPBACK = AllowedAddresses.parse("127.0.0.1")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver."""
    with receiving() as running:
        yield running


@pytest.fixture
def endpoints(link: RedisLink) -> Endpoints:
    """The endpoints."""
    return Endpoints(shards_of(link))


@pytest.fixture
def deliver(link: RedisLink, endpoints: Endpoints) -> Callable[[], int]:
    """A deliverer's call that sends what is due."""
    shards = shards_of(link)
    return Deliverer(next(iter(shards)), Deliveries(shards), endpoints, Sender(LOOPBACK)).deliver_due


def listed(link: RedisLink) -> list[Delivery]:
    """The owner's deliveries, oldest first."""
    return Deliveries(shards_of(link)).newest(OWNER, limit=100, cursor=None).deliveries[::-1]


def test_sdk_verifies_what_arrives(
    link: RedisLink, endpoints: Endpoints, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    """OpenAI's SDK unwraps the event of a response with the secret of the endpoint, and with that of the owner."""
    made = endpoints.create(OWNER, receiver.url, [])
    own = endpoints.rotate_secrets(OWNER)[0]
    job_id = post(link, receiver.url, surface="responses")
    assert deliver() == 2
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1:1")
    secrets = {made.id: made.secrets[0].text, "own": own.text}
    for got in receiver.received:
        secret = next(text for name, text in secrets.items() if got.headers["webhook-id"].endswith(name))
        event = client.webhooks.unwrap(got.body, got.headers, secret=secret)
        assert event.type == "response.completed"
        assert event.data.id == f"resp_{job_id}"
    assert len(set(receiver.ids)) == 2


def test_receiver_that_was_down_gets_everything_once_and_in_order(
    link: RedisLink, endpoints: Endpoints, deliver: Callable[[], int]
) -> None:
    """While a receiver is down it is asked once a pause; once it is back, it gets each event, in the order of the ends,
    under the id of the first attempt."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    endpoints.create(OWNER, f"http://127.0.0.1:{port}/hook", [])
    jobs = [post(link) for _ in range(4)]
    for _ in range(5):
        assert deliver() == 1
        pass_pauses(link)
    tried = [each.id for each in listed(link)]
    with receiving(port=port) as receiver:
        assert deliver() == 4
        pass_pauses(link)
        assert deliver() == 0
    assert receiver.subjects == jobs
    assert receiver.ids == tried
    assert {each.state for each in listed(link)} == {DeliveryState.DELIVERED}


def test_slow_receiver_holds_up_no_other(link: RedisLink, receiver: Receiver) -> None:
    """While one receiver lets all its requests wait, another one gets its events."""
    shards = shards_of(link)
    loop = Deliverer(next(iter(shards)), Deliveries(shards), Endpoints(shards), Sender(LOOPBACK))
    with receiving() as slow:
        slow.gate.clear()
        for _ in range(6):
            post(link, slow.url)
        last = post(link, receiver.url)
        taken = Deliveries(shards).take(next(iter(shards)), 64)
        threads = [threading.Thread(target=loop.deliver, args=(each,)) for each in taken]
        for thread in threads:
            thread.start()
        threads[[each.subject for each in taken].index(last)].join(10)
        assert receiver.subjects == [last]
        assert len(slow.received) <= 4
        slow.gate.set()
        for thread in threads:
            thread.join(10)
    assert len([each for each in taken if each.url == slow.url]) == 4


def test_gone_ends_the_endpoint(
    link: RedisLink, endpoints: Endpoints, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    """A 410 disables the endpoint with the reason; what is outstanding ends, and later ends post nothing to it."""
    made = endpoints.create(OWNER, receiver.url, [])
    receiver.status = 410
    for _ in range(3):
        post(link)
    deliver()
    post(link)
    deliver()
    assert len(receiver.received) == 1
    assert endpoints.get(made.id, OWNER).disabled_reason == "the receiver answered 410 Gone"
    assert [each.state for each in listed(link)] == [DeliveryState.FAILED] * 3
    assert listed(link)[1].last_error == "the webhook is disabled"


def test_gone_ends_the_delivery_of_a_webhook_that_a_submit_names(
    link: RedisLink, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    """Without an endpoint, a 410 ends the delivery."""
    receiver.status = 410
    post(link, receiver.url)
    deliver()
    pass_pauses(link)
    assert deliver() == 0
    assert [(each.state, each.last_status) for each in listed(link)] == [(DeliveryState.FAILED, 410)]


def test_redirect_to_this_machine_is_not_followed(
    link: RedisLink, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    """A redirect is a failure that names itself; its target gets nothing, and the event arrives once it is gone."""
    with receiving() as inside:
        receiver.statuses, receiver.location = [302], inside.url
        post(link, receiver.url)
        deliver()
        assert listed(link)[0].last_error == "the receiver answered 302; redirects are not followed"
        pass_pauses(link)
        assert deliver() == 1
    assert inside.received == []
    assert [each.state for each in listed(link)] == [DeliveryState.DELIVERED]


def test_name_that_becomes_private_gets_nothing(link: RedisLink, receiver: Receiver) -> None:
    """A host that resolves to a forbidden address on the second look-up: it gets no request, and the event arrives once
    it resolves to an allowed one."""
    port = urlsplit(receiver.url).port
    shards, answers = shards_of(link), [["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1"]]
    sender = Sender(LOOPBACK, lambda *_: answers.pop(0))
    loop = Deliverer(next(iter(shards)), Deliveries(shards), Endpoints(shards), sender)
    with receiving("127.0.0.2", port or 0) as private:
        jobs = [post(link, f"http://receiver.test:{port}/hook")]
        loop.deliver_due()
        jobs.append(post(link, f"http://receiver.test:{port}/hook"))
        loop.deliver_due()
        assert "no address that webhooks may be sent to" in listed(link)[1].last_error
        pass_pauses(link)
        loop.deliver_due()
    assert private.received == []
    assert receiver.subjects == jobs


def test_endpoint_that_fails_for_days_is_disabled(
    link: RedisLink, endpoints: Endpoints, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    """After three days without a success an endpoint is disabled, with the last failure as the reason."""
    made = endpoints.create(OWNER, receiver.url, [])
    receiver.status = 500
    post(link)
    deliver()
    link.call("HSET", f"{P}lane-state:{made.id}", "since_ms", 1)
    pass_pauses(link)
    deliver()
    reason = endpoints.get(made.id, OWNER).disabled_reason
    assert reason == "no delivery has succeeded for 3 days; the last failure: the receiver answered 500"


def test_deleted_endpoint_gets_nothing_more(
    link: RedisLink, endpoints: Endpoints, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    """What is outstanding when an endpoint is deleted ends without a request."""
    made = endpoints.create(OWNER, receiver.url, [])
    post(link)
    endpoints.delete(made.id, OWNER)
    assert deliver() == 1
    assert receiver.received == []
    assert listed(link)[0].last_error == "the webhook was deleted"


def test_rotated_secrets_both_sign(
    link: RedisLink, endpoints: Endpoints, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    """After a rotation a delivery has a signature of each secret."""
    made = endpoints.create(OWNER, receiver.url, [])
    rotated = endpoints.rotate(made.id, OWNER)
    post(link)
    deliver()
    (got,) = receiver.received
    expected = headers(got.headers["webhook-id"], int(got.headers["webhook-timestamp"]), got.body, rotated.secrets)
    assert got.headers["webhook-signature"] == expected["webhook-signature"]
    assert len(got.headers["webhook-signature"].split()) == 2


def test_damaged_secrets_end_the_delivery(
    link: RedisLink, endpoints: Endpoints, receiver: Receiver, deliver: Callable[[], int]
) -> None:
    """A delivery of an endpoint whose record is damaged is given up, and the next receiver gets its event."""
    made = endpoints.create(OWNER, receiver.url, [])
    link.call("HSET", f"{P}endpoint:{made.id}", "secrets", "x")
    job_id = post(link, receiver.url)
    assert deliver() == 2
    assert receiver.subjects == [job_id]
    assert {each.state for each in listed(link)} == {DeliveryState.DELIVERED, DeliveryState.FAILED}


def test_nothing_secret_is_logged_or_listed(
    link: RedisLink,
    endpoints: Endpoints,
    receiver: Receiver,
    deliver: Callable[[], int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither log lines nor records of deliveries contain a secret; log lines contain no URL either."""
    made = endpoints.create(OWNER, f"{receiver.url}?token=of-the-receiver", [])
    receiver.statuses = [500]
    post(link)
    with caplog.at_level(logging.DEBUG):
        deliver()
        pass_pauses(link)
        deliver()
    secret = made.secrets[0].text
    assert "attempt 1 failed: the receiver answered 500" in caplog.text
    assert "delivered by attempt 2" in caplog.text
    for text in (secret, secret[6:], "of-the-receiver"):
        assert text not in caplog.text
        assert text not in repr(listed(link))


def test_lookups_are_bounded() -> None:
    """A look-up by name gives addresses; of look-ups that never end, a few run, and all fail in time. The others are
    given up: none of them runs later."""
    assert "127.0.0.1" in BoundedLookups()("localhost", 80, 10)
    begun: list[str] = []
    ends = Event()

    def lookup(host: str, port: int, timeout_s: float) -> Sequence[str]:  # noqa: ARG001
        begun.append(host)
        ends.wait()
        return []

    lookups = BoundedLookups(lookup)
    for number in range(6):
        with pytest.raises(OSError, match=r"not resolved in time"):
            lookups(f"host{number}", 80, 0.01)
    ends.set()
    assert lookups("last", 80, 10) == []
    assert begun == ["host0", "host1", "host2", "last"]


def test_lookups_that_never_end_do_not_hold_up_known_hosts(capfd: pytest.CaptureFixture[str]) -> None:
    """A host that was resolved before is resolved beside them; one that is unknown is an error, and not on stderr."""
    never = Event()

    def lookup(host: str, port: int, timeout_s: float) -> Sequence[str]:  # noqa: ARG001
        if host == "unknown":
            raise OSError(host)
        if host != "known":
            never.wait()
        return ["192.0.2.1"]

    lookups = BoundedLookups(lookup)
    with pytest.raises(OSError, match="unknown"):
        lookups("unknown", 80, 10)
    assert lookups("known", 80, 10) == ["192.0.2.1"]
    for number in range(6):
        with pytest.raises(OSError, match=r"not resolved in time"):
            lookups(f"host{number}", 80, 0.01)
    assert lookups("known", 80, 10) == ["192.0.2.1"]
    assert "unknown" not in capfd.readouterr().err
