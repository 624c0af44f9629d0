"""Bells in the broker: as many as may be of use, however many jobs are submitted while no worker runs."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import gevent
import orjson
import pytest

from spool.bell import BELLS_AT_MOST, Bell, celery_app
from spool.bell_queue import QUEUE, KombuBells, RedisBells, bell_queue, redis_message
from spool.redis.link import RedisLink
from spool.redis.urls import broker_url_from
from tests.stack import Redis


class Clock:
    """A clock that stands still until it is told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The bell's clock."""
    return Clock()


@pytest.fixture(params=[RedisBells, KombuBells])
def bell(redis: Redis, link: RedisLink, clock: Clock, request: pytest.FixtureRequest) -> Iterator[Bell]:
    """A bell on an empty broker, which is used straight or through kombu."""
    assert link is redis.link
    with celery_app(broker_url_from(redis.url)) as app:
        bell = Bell(RedisBells(link) if request.param is RedisBells else KombuBells(app), clock)
        ringing = bell.start()
        yield bell
        ringing.kill()


def unheard(link: RedisLink) -> int:
    """Bells in the broker."""
    return int(link.call("LLEN", QUEUE))


def ring(bell: Bell, times: int) -> None:
    """Ring so often, and wait until all that is to be is rung."""
    for _ in range(times):
        bell.ring("j")
        with gevent.Timeout(10):
            while not bell.is_quiet:
                gevent.sleep(0)


def test_unheard_bells_are_bounded(bell: Bell, link: RedisLink) -> None:
    """However often it is rung while nobody hears it, so many bells are in the broker and no more."""
    ring(bell, 3 * BELLS_AT_MOST)
    assert unheard(link) == BELLS_AT_MOST


def test_heard_bells_make_room(bell: Bell, link: RedisLink, clock: Clock) -> None:
    """Once bells are heard there is room for others, a moment later."""
    ring(bell, BELLS_AT_MOST + 1)
    link.call("LTRIM", QUEUE, 0, 9)
    ring(bell, 1)
    assert unheard(link) == 10
    clock.now += 1
    ring(bell, 1)
    assert unheard(link) == 11


def shape(value: Any) -> Any:
    """A message without what differs from one to the next."""
    if isinstance(value, dict):
        return {name: shape(orjson.loads(b64decode(each)) if name == "body" else each) for name, each in value.items()}
    return re.sub(r"[0-9a-f-]{36}|20\d\d-[0-9T:.+-]+", "", value) if isinstance(value, str) else value


def test_bell_is_what_kombu_would_write(redis: Redis, link: RedisLink) -> None:
    """A bell that is written straight to the list is, byte for byte of its meaning, the one that kombu writes."""
    with celery_app(broker_url_from(redis.url)) as app:
        KombuBells(app).send(["j0abc"])
    (by_kombu,) = link.call("LRANGE", QUEUE, 0, -1)
    assert shape(orjson.loads(redis_message("j0abc"))) == shape(orjson.loads(by_kombu))


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://localhost:6379/1", RedisBells),
        ("rediss://:secret@redis.internal/0", RedisBells),
        ("unix:///run/redis.sock?db=2", RedisBells),
        ("redis+socket:///run/redis.sock?virtual_host=2", RedisBells),
        ("amqp://guest@rabbit//", KombuBells),
        ("sentinel://one:26379;sentinel://two:26379", KombuBells),
        ("redis://one;redis://two", KombuBells),
    ],
)
def test_queue_of_a_broker(url: str, kind: type) -> None:
    """One Redis is written to straight; every other broker is kombu's."""
    with celery_app("redis://localhost") as app:
        assert type(bell_queue(app, url)) is kind


def test_bell_by_the_url_that_programs_get(redis: Redis, link: RedisLink) -> None:
    """``spool run`` names the broker in kombu's form: the bells are in the same database."""
    url = broker_url_from(f"{redis.url}?db=1")
    with celery_app(url) as app:
        bell_queue(app, url).send(["j"])
        assert KombuBells(app).unheard() == 1
    assert link.call("LLEN", QUEUE) == 0
