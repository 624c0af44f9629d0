"""The list of an owner's batches, filtered."""

from __future__ import annotations

from typing import Any

import pytest

from rig.batches import create
from spool.batches.batch import BatchOptions, BatchState
from spool.batches.listing import WantedBatches, newest
from spool.batches.store import Batches
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, shards_of

pytestmark = pytest.mark.one_shard


def listed(link: RedisLink, wanted: WantedBatches, limit: int = 50) -> list[str]:
    """All pages of the wanted batches."""
    found, cursor = list[str](), None
    while True:
        page, cursor = Batches(shards_of(link)).newest(OWNER, limit=limit, cursor=cursor, wanted=wanted)
        found += [batch.id for batch in page]
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_filters(link: RedisLink, limit: int) -> None:
    """A list has the batches that match, newest first, on pages of any size; an empty value is not any value."""
    of = [{"of": "monday"}, {"of": "tuesday"}, {}, {"of": "monday", "x": "of"}]
    ids = [create(link, 1, options=BatchOptions(metadata=each)) for each in of]
    Batches(shards_of(link)).stop(ids[3], OWNER)
    cases: list[tuple[WantedBatches, list[int]]] = [
        (WantedBatches(metadata=("of", "monday")), [3, 0]),
        (WantedBatches(metadata=("of",)), [3, 1, 0]),
        (WantedBatches(metadata=("of", "")), []),
        (WantedBatches(BatchState.CANCELLING), [3]),
        (WantedBatches(BatchState.IN_PROGRESS, ("of", "monday")), [0]),
    ]
    for wanted, places in cases:
        assert listed(link, wanted, limit) == [ids[place] for place in places]


def test_times(link: RedisLink) -> None:
    """A list has the batches created from one time on, and before another."""
    batches = Batches(shards_of(link))
    ids = [create(link, 1) for _ in range(3)]
    times = [batches.look(each, OWNER).created_ms for each in ids]
    everything = ids[::-1]
    later = [each for each in everything if times[ids.index(each)] >= times[1]]
    assert listed(link, WantedBatches(after_ms=times[1])) == later
    assert listed(link, WantedBatches(before_ms=times[1])) == [each for each in everything if each not in later]
    assert listed(link, WantedBatches(after_ms=times[0], before_ms=times[2] + 1)) == everything
    assert listed(link, WantedBatches(after_ms=times[2] + 1)) == []


def test_page_examines_few(link: RedisLink) -> None:
    """A page of a filtered list ends after some batches, with a cursor behind them."""
    ids = [create(link, 1, options=BatchOptions(metadata={"n": str(n)})) for n in range(5)]
    shards, wanted = shards_of(link), WantedBatches(metadata=("n", "0"))
    cursor, found, pages = None, list[str](), 0
    few: dict[str, Any] = {"note": lambda _batch: None, "at_once": 2, "most": 2}
    while pages == 0 or cursor is not None:
        page, cursor = newest(shards, OWNER, wanted, limit=5, cursor=cursor, **few)
        found += [batch.id for batch in page]
        pages += 1
    assert (found, pages) == ([ids[0]], 3)
