"""A worker by hand: claims, appends and ends exactly what a test says, through the real scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from spool.ids import new_job_id, shard_of
from spool.jobs.claims import Claim, Claims, Held, Wanted, new_fence
from spool.jobs.class_shares import BatchSlots
from spool.jobs.entries import Entry, Kind
from spool.jobs.job import Job, NewJob, Status
from spool.jobs.log import Logs, Row
from spool.jobs.packed_log import open_packed
from spool.jobs.scripts import script
from spool.jobs.shards import Shard, Shards
from spool.jobs.store import JobStore
from spool.keys import HOME, prefix
from spool.keys import job as job_key
from spool.models.model import DEMO, Model
from spool.redis.link import RedisLink
from worker.attempt_log import AttemptLog

AT = "2026-11-21T09:30:00.123Z"
OWNER = "alice"


def new_job(**fields: Any) -> NewJob:
    """A submit of ``alice`` for the demo, as ``fields`` change it."""
    said = {"messages": [{"role": "user", "content": "hello"}], "params": {}}
    return NewJob(**{"id": new_job_id(0), "owner": OWNER, "model": DEMO.name, "input": said, **fields})


def shards_of(link: RedisLink) -> Shards:
    """The shards in this Redis: as many as it says, or one."""
    return Shards.on(link, int(link.call("GET", f"{prefix(HOME)}shards") or 1), first=0)


def store_of(link: RedisLink) -> JobStore:
    """The jobs in this Redis."""
    return JobStore(shards_of(link))


def submit(link: RedisLink, **fields: Any) -> Job:
    """Submit such a job; shards take turns."""
    shards, new = shards_of(link), new_job(**fields)
    if "id" not in fields:
        # The last shard has the first job, so that a test of one job does not use the first shard alone.
        # A test of one shard may have damaged its counter.
        submits = sum(int(link.call("GET", shard.key("seq")) or 0) for shard in shards) if len(shards) > 1 else 0
        new = Shards.on(link, len(shards), first=len(shards) - 1 + submits).place(new)
    return JobStore(shards).submit(new, max_queued=1_000_000).job


def claimed(
    job_id: str = "j0-" + "0" * 26,
    *,
    fence: str = "f" * 16,
    first: int = 2,
    prefix: str = "",
    probe: str = "",
    **fields: Any,
) -> Claim:
    """A claim of which no Redis knows: its next entry is ``first``, and it goes on after ``prefix``. ``fields`` are the
    job's."""
    said = {"last_entry": first - 1, "attempt": 1, **fields}
    job = Job(job_id, Status.RUNNING, OWNER, DEMO.name, 0.0, 60.0, **said)
    opening = Entry(first - 1, Kind.STARTED, AT, {"attempt": 1, "model": DEMO.name}).encode()
    return Claim(job, 0, fence, {"messages": []}, prefix, opening, first, 60.0, probe)


class OwnAttempts:
    """The attempts of a process as a log uses them: all that it said of its attempt."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def over(self, attempt_log: AttemptLog, outcome: str) -> None:  # noqa: ARG002
        """The attempt is over."""
        self.said.append(outcome)

    def unclaimed(self, attempt_log: AttemptLog) -> None:  # noqa: ARG002
        """Redis has lost the claim."""
        self.said.append("unclaimed")


def tokens(first: int, *texts: str) -> list[bytes]:
    """Encoded tokens with ids from ``first``."""
    return [Entry(first + n, Kind.TOKEN, AT, {"text": text}).encode() for n, text in enumerate(texts)]


def done(entry_id: int) -> bytes:
    """An encoded ``done``."""
    return Entry(entry_id, Kind.DONE, AT, {"finish_reason": "stop"}).encode()


SUCCEEDED = orjson.dumps({"status": "succeeded", "usage": {"output_tokens": 2}, "finish_reason": "stop"})


class HandWorker:
    """One worker without a process."""

    def __init__(
        self,
        link: RedisLink,
        *,
        lease_s: float = 10.0,
        max_attempts: int = 3,
        name: str = "hand",
        batch_slots: BatchSlots | None = None,
    ) -> None:
        self.link = link
        self.shards = shards_of(link)
        self.claims = Claims(
            self.shards, worker=name, lease_s=lease_s, max_attempts=max_attempts, batch_slots=batch_slots
        )
        self.lease_ms = round(lease_s * 1000)
        self._said: dict[str, dict[int, str]] = {}

    def claim(self, *models: Model, fence: str = "", wanted: Wanted = "any") -> Claim | None:
        """The next job of these models; of the demo if none are named."""
        fence = fence or new_fence()
        claims = (self.claims.claim(shard, models or (DEMO,), fence, wanted) for shard in self.claims.in_turn())
        return next((claim for claim in claims if claim is not None), None)

    def take(self, *models: Model) -> Claim:
        """The same, where there is one."""
        claim = self.claim(*models)
        assert claim is not None, "nothing to claim"
        return claim

    def take_job(self, job_id: str) -> Claim:
        """This very job, of the demo. Those before it in the queue are claimed too, and left."""
        while True:
            claim = self.take()
            if claim.job.id == job_id:
                return claim

    def beat(
        self, *claims: Claim, free: int = 0, acked: int | None = None, sent: int = 0, server: str = ""
    ) -> list[bytes | int]:
        """One heartbeat for these claims, with logs that the worker thinks to go up to ``acked`` (or to what the claim
        wrote): what it is told of each."""
        held = [Held(one.job.id, one.fence, one.first - 1 if acked is None else acked, sent) for one in claims]
        answers = dict(self.claims.heartbeat(held, free=free, server=server).answers)
        return [answers[one] for one in held]

    def append(
        self,
        claim: Claim,
        first: int,
        entries: Sequence[bytes],
        *,
        text: str = "",
        ending: bytes = b"",
        plain: bool = True,
        fence: str = "",
    ) -> Any:
        """One log's commit: what the script answers."""
        return self.append_many([self.commit(claim, first, entries, text, ending, plain=plain, fence=fence)])[0]

    def commit(
        self,
        claim: Claim,
        first: int,
        entries: Sequence[bytes],
        text: str = "",
        ending: bytes = b"",
        *,
        plain: bool = True,
        fence: str = "",
    ) -> list[object]:
        """The arguments of one log's commit, whose text begins behind that of the attempt's entries before it."""
        said = self._said.setdefault(claim.fence, {})
        decoded = [Entry.decode(raw) for raw in entries if text]
        said.update((one.id, one.fields["text"]) for one in decoded if one.kind is Kind.TOKEN)
        before = claim.prefix + "".join(said[entry_id] for entry_id in sorted(said) if entry_id < first)
        head = [claim.job.id, fence or claim.fence, first, len(entries), ending, int(plain), len(before.encode()), text]
        return [*head, *entries]

    def append_many(self, commits: Sequence[Sequence[object]]) -> list[Any]:
        """Several logs' commits, in one call for each shard."""
        answers: dict[int, Any] = {}
        for shard in self.shards:
            places = [at for at, commit in enumerate(commits) if shard_of(str(commit[0])) == shard.number]
            flat = [arg for at in places for arg in commits[at]]
            answers |= zip(places, shard.run(script("append"), self.lease_ms, *flat) if flat else (), strict=True)
        return [answers[at] for at in range(len(commits))]

    def say(self, claim: Claim, *texts: str) -> int:
        """Append tokens behind what is there; the log's last id."""
        first = int(record(self.link, claim.job.id)["last"]) + 1
        answer: int = self.append(claim, first, tokens(first, *texts), text="".join(texts))
        return answer

    def finish(self, claim: Claim) -> int:
        """Append ``done``; the log's last id."""
        first = int(record(self.link, claim.job.id)["last"]) + 1
        answer: int = self.append(claim, first, [done(first)], ending=SUCCEEDED)
        return answer


def record(link: RedisLink, job_id: str) -> dict[str, str]:
    """A job's record as it is stored."""
    raw = link.call("HGETALL", job_key(job_id))
    return {raw[n].decode(): raw[n + 1].decode() for n in range(0, len(raw), 2)}


_UNPACKED = """
local values = redis.call('HGETALL', KEYS[1])
for i = 2, #values, 2 do values[i] = {cmsgpack.unpack(values[i])} end
return values
"""


def ledger_of(link: RedisLink, shard: int = 0) -> dict[str, list[Any]]:
    """The ledger's entries and sums, unpacked."""
    raw = link.call("EVAL", _UNPACKED, 1, f"{prefix(shard)}ledger")
    return {raw[n].decode(): raw[n + 1] for n in range(0, len(raw), 2)}


def use(link: RedisLink, owner: str = OWNER) -> dict[str, int]:
    """What an owner uses; empty for an owner without jobs."""
    names = ("queued", "running", "bytes", "expected", "writing")
    figures = ledger_of(link).get(f"sum:{owner}")
    return dict(zip(names, figures, strict=True)) if figures else {}


def rows_of(link: RedisLink, job_id: str) -> list[Row]:
    """A job's whole log as it is stored: ids and bytes."""
    logs, rows = Logs(link), list[Row]()
    while page := logs.read(job_id, rows[-1][0] if rows else 0):
        rows += page
    return rows


def log_of(link: RedisLink, job_id: str) -> list[Entry]:
    """A job's whole log."""
    return [Entry.decode(raw) for _id, raw in rows_of(link, job_id)]


def kinds_of(link: RedisLink, job_id: str) -> list[str]:
    """The kinds of its entries."""
    return [entry.kind.value for entry in log_of(link, job_id)]


def text_of(link: RedisLink, job_id: str) -> str:
    """The text that polls are answered with."""
    first = int(record(link, job_id).get("attempt_first", 1))
    # Before the packed log: a worker may pack it in between.
    stored = link.call("GET", f"{job_key(job_id)}:text")
    packed = None if stored else open_packed(link, job_id)
    return (b"".join(packed.text(first)) if packed else stored or b"").decode()


def age(link: RedisLink, job_id: str, **fields: int) -> None:
    """Move a job's times: its record's fields, and the index that goes by each. The scripts' clock is Redis's own, so
    tests move what is compared to it."""
    key, model = job_key(job_id), record(link, job_id)["model"]
    for name, value in fields.items():
        link.call("HSET", key, name, value)
        if name == "leased_until_ms":
            link.call("ZADD", f"{prefix(shard_of(job_id))}running:{model}", "XX", value, job_id)
        if name in ("deadline_ms", "start_by_ms"):
            link.call("ZADD", f"{prefix(shard_of(job_id))}deadlines", "XX", value, job_id)


def restart(link: RedisLink) -> None:
    """As if Redis had been restarted: all that it holds was written on an earlier run of it."""
    for shard in shards_of(link):
        earlier = ("run_id", "an earlier one", "since_ms", 0, "webs_run", "an earlier one", "webs_since_ms", 0)
        link.call("HSET", shard.key("server"), *earlier)
    for key in link.call("KEYS", "spool:*:job:*"):
        if link.call("TYPE", key) == b"hash":
            link.call("HSET", key, "server", "an earlier one")
    for key in link.call("KEYS", "spool:*:batch:*"):
        if link.call("TYPE", key) == b"hash" and link.call("HEXISTS", key, "run_id"):
            link.call("HSET", key, "run_id", "an earlier one")


def settle(link: RedisLink) -> None:
    """The moment is over in which claims wait for workers to be heard after a restart."""
    for shard in shards_of(link):
        link.call("HSET", shard.key("server"), "since_ms", 1)


def keep(link: RedisLink, *, lease_ms: int = 1, max_attempts: int = 3, patient: bool = False) -> list[int] | None:
    """One round of each keeper, past its lock; where it need not be patient, with its patience over. The sums."""
    replies = [_keep(shard, lease_ms, max_attempts, patient) for shard in shards_of(link)]
    return None if None in replies else [sum(figures) for figures in zip(*map(list, replies), strict=True)]  # type: ignore[arg-type]


def _keep(shard: Shard, lease_ms: int, max_attempts: int, patient: bool) -> list[int] | None:
    shard.link.call("DEL", shard.key("keeper:lock"))
    reply: list[int] | None = shard.run(script("keep"), lease_ms, max_attempts, 200, 60_000, "hand", 1)
    if not patient and reply is not None and reply[5]:
        shard.link.call("HSET", shard.key("keeper"), "patient_until_ms", 0)
        return _keep(shard, lease_ms, max_attempts, patient)
    return reply and reply[:6]
