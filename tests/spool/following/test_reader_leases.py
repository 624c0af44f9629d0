"""Leases of jobs that are cancelled when their last reader leaves."""

from __future__ import annotations

from typing import Any

import pytest

from spool.errors import StoreUnavailable
from spool.following.feed import Feed
from spool.following.reader_leases import WATCH_GRACE_S, ReaderLeases


class Link:
    """A link that records which jobs' leases were renewed, by shard."""

    def __init__(self) -> None:
        self.renewed: list[tuple[int, list[str]]] = []
        self.is_away = False

    def run(self, _script: object, shard: int, grace_ms: int, *job_ids: str) -> None:
        """The script."""
        if self.is_away:
            raise StoreUnavailable("away")
        assert grace_ms == WATCH_GRACE_S * 1000
        self.renewed.append((shard, list(job_ids)))


class Somebody:
    """A reader, of which only that it is there matters."""

    cursor = 0
    feed: Any = None

    def wake(self) -> None:
        """Nothing."""


def feed(job_id: str, *, watched: bool = True, has_reader: bool = True, left_at: float = float("-inf")) -> Feed:
    """A feed of a job that needs a reader."""
    made = Feed(job_id, 0)
    made.watched, made.left_at = watched, left_at
    if has_reader:
        made.readers.add(Somebody())
    return made


READ, LEFT, OTHER, ELSEWHERE = "j0-" + "1" * 26, "j0-" + "2" * 26, "j0-" + "3" * 26, "j1-" + "4" * 26


@pytest.fixture
def link() -> Link:
    """The link."""
    return Link()


def test_leases_of_jobs_with_a_reader(link: Link) -> None:
    """Jobs that need a reader and have one are renewed, those of a shard in one call; all others are not."""
    feeds = [feed(READ), feed(LEFT, has_reader=False), feed(OTHER, watched=False), feed(ELSEWHERE)]
    leases = ReaderLeases(link)  # type: ignore[arg-type]
    leases.renew(0.0, [])
    leases.renew(5.0, feeds)
    assert link.renewed == [(0, [READ]), (1, [ELSEWHERE])]


def test_leases_are_renewed_in_time(link: Link) -> None:
    """A lease is renewed at a third of its length, and not before."""
    leases, feeds = ReaderLeases(link), [feed(READ)]  # type: ignore[arg-type]
    for now in (0.0, 1.0, WATCH_GRACE_S / 3 - 0.1, WATCH_GRACE_S / 3):
        leases.renew(now, feeds)
    assert link.renewed == [(0, [READ])] * 2


def test_poller_between_two_requests_counts(link: Link) -> None:
    """A reader that left since the last renewal still counts; one renewal later it does not."""
    leases, poller = ReaderLeases(link), feed(READ, has_reader=False, left_at=3.0)  # type: ignore[arg-type]
    for now in (0.0, 5.0, 10.0):
        leases.renew(now, [poller])
    assert link.renewed == [(0, [READ])] * 2


def test_redis_that_is_away(link: Link) -> None:
    """A renewal that fails raises nothing, and the next one is tried."""
    leases, feeds = ReaderLeases(link), [feed(READ)]  # type: ignore[arg-type]
    link.is_away = True
    leases.renew(0.0, feeds)
    link.is_away = False
    leases.renew(WATCH_GRACE_S, feeds)
    assert link.renewed == [(0, [READ])]
