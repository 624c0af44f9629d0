"""The keeper moves the ledger of earlier versions, which may still run, to this version's."""

from __future__ import annotations

import pytest

from spool.ids import new_batch_id
from spool.jobs.submission import NewBatch
from spool.keys import job as job_key
from spool.keys import prefix
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, keep, ledger_of, new_job, store_of, submit, use

P = prefix(0)
FIGURES = ("queued", "running", "bytes", "expected", "writing")


def to_old_ledger(link: RedisLink) -> None:
    """Replace the ledger by one of earlier versions."""
    entries, sums = ledger_of(link), {"sum": "use", f"sum:{OWNER}": f"use:{OWNER}"}
    for name, (*figures, owner, batch, model) in ((n, e) for n, e in entries.items() if n not in sums):
        entry = [*map(str, figures), owner.decode(), batch.decode() or "-", model.decode()]
        link.call("HSET", f"{P}booked", name, " ".join(entry))
    for name, stored in sums.items():
        link.call("HSET", P + stored, *(word for pair in zip(FIGURES, entries[name], strict=True) for word in pair))
    link.call("DEL", f"{P}ledger")


@pytest.mark.one_shard
def test_old_ledger_is_taken_over(link: RedisLink) -> None:
    """The keeper moves all entries of earlier versions, also of jobs that have moved on since."""
    store, worker = store_of(link), HandWorker(link)
    for _ in range(5):
        submit(link)
    worker.finish(worker.take())
    worker.take()
    batch_id = new_batch_id(0)
    jobs = [new_job(batch=batch_id, batch_index=number) for number in range(2)]
    store.stage_batch(NewBatch(batch_id, OWNER, jobs), max_queued=9)
    before = ledger_of(link)
    to_old_ledger(link)
    worker.take()
    keep(link, lease_ms=60_000)
    found = ledger_of(link)
    assert found[batch_id] == before[batch_id]
    assert found.keys() == before.keys()
    assert (use(link)["queued"], use(link)["running"]) == (4, 2)
    # Booked from the records, an input counts with Redis's overhead.
    assert 0 <= use(link)["bytes"] - before[f"sum:{OWNER}"][2] < 1000
    assert link.call("EXISTS", f"{P}booked", f"{P}use", f"{P}use:{OWNER}") == 0


@pytest.mark.one_shard
def test_older_process_beside_this_one(link: RedisLink) -> None:
    """A job that an older process took counts as running within a round, and that process's sums lose it."""
    jobs = [submit(link).id for _ in range(2)]
    link.call("HSET", job_key(jobs[0]), "status", "running", "leased_until_ms", 10**13)
    link.call("ZREM", f"{P}pending:demo", jobs[0])
    link.call("HSET", f"{P}booked", jobs[0], f"0 1 0 0 500 {OWNER} - demo", "j0-gone", "1 0 7 9 0 bob - demo")
    for name in ("use", f"use:{OWNER}"):
        link.call("HSET", P + name, "queued", 3, "running", 1, "bytes", 70, "expected", 90, "writing", 500)
    keep(link, lease_ms=60_000)
    assert (use(link)["queued"], use(link)["running"]) == (1, 1)
    assert link.call("HMGET", f"{P}use:{OWNER}", "queued", "running", "writing") == [b"3", b"0", b"0"]
    assert link.call("HMGET", f"{P}use", "queued", "bytes", "expected") == [b"2", b"63", b"81"]
