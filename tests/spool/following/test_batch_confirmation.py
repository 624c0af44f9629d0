"""A batch's log after restarts of Redis: it jumps only if readers may have seen what Redis has lost."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rig.batches import create, feed, feeder_of, log_of_batch
from spool.batches.batch import BatchOptions
from spool.batches.line import BadLine, job_id_of
from spool.batches.pieces import Pieces
from spool.batches.store import Batches
from spool.following.batch_confirmation import BatchConfirmation
from spool.jobs.scripts import script
from spool.jobs.seen_batches import SeenBatches
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, kinds_of, restart, settle, shards_of
from tests.saved import Saved

pytestmark = pytest.mark.one_shard
P = prefix(0)


class Web:
    """A web that reads batches."""

    def __init__(self, link: RedisLink) -> None:
        self.seen = SeenBatches()
        self.batches = Batches(shards_of(link), self.seen)
        self.closed = 0
        self._link = link
        self._confirmation = BatchConfirmation(shards_of(link), self._all, self._disconnect)
        self.beat()

    def _all(self) -> Mapping[str, int]:
        return self.seen.all()

    def _disconnect(self) -> None:
        self.closed += 1

    def beat(self) -> None:
        """Report."""
        self._confirmation.beat(lambda _s: None)


def kinds(link: RedisLink, batch: str) -> list[tuple[int, str]]:
    """The id and kind of each entry of the batch's log."""
    return [(entry["id"], entry["kind"]) for entry in log_of_batch(link, batch)]


def indexes(link: RedisLink, batch: str) -> list[int]:
    """The lines in the batch's log."""
    return [entry["batch_index"] for entry in log_of_batch(link, batch) if entry["kind"] == "line"]


def finish(link: RedisLink, worker: HandWorker, most: int = 1000) -> None:
    """Run lines, at most so many."""
    for _ in range(most):
        feed(link)
        claim = worker.claim()
        if claim is None:
            break
        worker.finish(claim)
    feed(link)


WHOLE = [(1, "line"), (2, "line"), (3, "line"), (4, "done")]


def test_restart_that_lost_nothing(link: RedisLink) -> None:
    """After a restart with everything there, the log goes on under the next ids once all webs have reported."""
    web, other, worker, batch = Web(link), Web(link), HandWorker(link), create(link, 3)
    finish(link, worker, 1)
    web.batches.results(batch, 0, 10)
    restart(link)
    web.beat()
    other.beat()
    finish(link, worker)
    assert kinds(link, batch) == WHOLE
    assert web.closed == other.closed == 1
    web.beat()
    assert web.closed == 1


def test_lines_that_end_before_the_webs_report(link: RedisLink) -> None:
    """Lines that end before all webs have reported wait for that, and come in the order of their ends."""
    web, worker, batch = Web(link), HandWorker(link), create(link, 3)
    feed(link)
    claims = [worker.take() for _ in range(3)]
    restart(link)
    for claim in reversed(claims):
        worker.finish(claim)
    feed(link)
    assert kinds(link, batch) == []
    assert Batches(shards_of(link)).look(batch, OWNER).counts["succeeded"] == 3
    # Longer than other jobs of lines, in case no process runs for a while.
    assert min(link.call("PTTL", f"{P}job:{claim.job.id}") for claim in claims) > 3_600_000
    web.beat()
    feed(link)
    assert kinds(link, batch) == WHOLE
    assert indexes(link, batch) == [2, 1, 0]
    assert link.call("KEYS", f"{P}batch:{batch}:late") == []


def test_web_has_read_what_redis_lost(link: RedisLink) -> None:
    """If a web has read an entry that Redis has lost, the log jumps ahead of it, and every line has an entry."""
    web, worker, batch = Web(link), HandWorker(link), create(link, 3)
    finish(link, worker, 1)
    saved = Saved(link)
    finish(link, worker, 1)
    web.batches.results(batch, 0, 10)
    saved.restore()
    web.beat()
    settle(link)
    finish(link, worker)
    found = kinds(link, batch)
    assert [kind for _id, kind in found] == ["line", "restarted", "line", "line", "done"]
    assert found[1][0] >= 500_000
    assert sorted(indexes(link, batch)) == [0, 1, 2]


def test_entries_lost_that_no_web_has_read(link: RedisLink) -> None:
    """Entries that Redis has lost and no web has read come again under the same ids."""
    web, worker, batch = Web(link), HandWorker(link), create(link, 3)
    finish(link, worker, 1)
    web.batches.results(batch, 0, 10)
    saved = Saved(link)
    finish(link, worker, 1)
    saved.restore()
    web.beat()
    finish(link, worker)
    assert kinds(link, batch) == WHOLE
    assert sorted(indexes(link, batch)) == [0, 1, 2]


def test_web_that_is_gone(link: RedisLink) -> None:
    """If a web of before the restart does not report in time, the log jumps: its readers may have seen more."""
    web, _gone, worker, batch = Web(link), Web(link), HandWorker(link), create(link, 2)
    finish(link, worker, 1)
    restart(link)
    web.beat()
    feed(link)
    worker.finish(worker.take())
    feed(link)
    assert [kind for _id, kind in kinds(link, batch)] == ["line"]
    link.call("HSET", f"{P}server", "webs_since_ms", 1)
    feed(link)
    assert [kind for _id, kind in kinds(link, batch)] == ["line", "restarted", "line", "done"]


def test_no_known_web(link: RedisLink) -> None:
    """Without a known web, webs of an older version may have read the log: it jumps."""
    worker, batch = HandWorker(link), create(link, 2)
    finish(link, worker, 1)
    restart(link)
    finish(link, worker)
    assert [kind for _id, kind in kinds(link, batch)] == ["line", "restarted", "line", "done"]


def test_report_of_an_earlier_moment(link: RedisLink) -> None:
    """A report that was made before the restart and arrives after it does not confirm its web."""
    _web, batch = Web(link), create(link, 1)
    restart(link)
    shard = next(iter(shards_of(link)))
    (name,) = link.call("ZRANGE", f"{P}batch-webs", 0, -1)
    answer = shard.run(script("confirm_batches"), name, "an earlier one", 1000, 1, batch, 0)
    assert answer[1] == 1


@pytest.mark.parametrize("how", ["bad lines", "cancelled", "sealed"])
def test_other_ends_wait_too(link: RedisLink, how: str) -> None:
    """Lines that end without a worker, and ends of batches, wait for the webs as well."""
    web = Web(link)
    is_open = how == "sealed"
    lines = [BadLine(0, 1, "invalid_request", "is wrong")] if how == "bad lines" else 0 if is_open else 2
    batch = create(link, lines, options=BatchOptions(is_open=is_open))
    if how == "cancelled":
        feeder_of(link).feed(batch, [2], 1)
    restart(link)
    if how == "cancelled":
        web.batches.stop(batch, OWNER)
    if how == "sealed":
        Pieces(shards_of(link)).seal(batch, OWNER)
    feed(link)
    assert kinds(link, batch) == []
    web.beat()
    feed(link)
    feed(link)
    found = kinds(link, batch)
    assert [entry_id for entry_id, _kind in found] == list(range(1, len(found) + 1))
    assert found[-1][1] == ("cancelled" if how == "cancelled" else "done")
    assert Batches(shards_of(link)).look(batch, OWNER).is_ended


def test_lost_job_is_fed_again_beside_its_worker(link: RedisLink) -> None:
    """A line's job that Redis has lost, and whose worker found it missing, begins with a jump, also after other lines
    have ended."""
    _web, worker, batch = Web(link), HandWorker(link), create(link, 3)
    worker.beat()
    feeder_of(link).feed(batch, [3], 1)
    saved = Saved(link)
    feeder_of(link).continue_at(batch, [(0, 1, 1)])
    first, second = worker.take(), worker.take()
    worker.say(second, "a")
    saved.restore()
    run = link.call("INFO", "server").decode().split("run_id:")[1].split()[0]
    assert worker.beat(first, second, server=run) == [b"unclaimed", b"lost"]
    worker.claims.adopt(first)
    worker.beat(first, server=run)
    worker.finish(first)
    feed(link)
    again = worker.take_job(job_id_of(batch, 1))
    assert kinds_of(link, again.job.id) == ["restarted"]
    assert again.first > 500_000


def test_restart_without_a_lost_job(link: RedisLink) -> None:
    """After a restart that lost no job, a line that is fed then begins like any other."""
    _web, worker, batch = Web(link), HandWorker(link), create(link, 2)
    worker.beat()
    restart(link)
    run = link.call("INFO", "server").decode().split("run_id:")[1].split()[0]
    worker.beat(server=run)
    feed(link)
    claim = worker.take()
    assert (claim.job.batch, claim.first) == (batch, 2)
    assert kinds_of(link, claim.job.id) == ["started"]
