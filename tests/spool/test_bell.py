"""Bells in the broker: as many as may be of use, however many jobs are submitted while no worker runs."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from spool.bell import BELLS_AT_MOST, QUEUE, Bell, celery_app
from spool.embedded import broker_url_from
from spool.redis_link import RedisLink
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


@pytest.fixture
def bell(redis: Redis, link: RedisLink, clock: Clock) -> Iterator[Bell]:
    """A bell on an empty broker."""
    assert link is redis.link
    with celery_app(broker_url_from(redis.url)) as app:
        bell = Bell(app, clock)
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
