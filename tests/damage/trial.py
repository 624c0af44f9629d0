"""One trial: a job in some state, one thing wrong with it, every script run on it; what the jobs beside it notice."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

from spool.errors import SpoolError, StoreUnavailable, UndecodableRecord
from spool.ids import new_batch_id
from spool.jobs.claims import Claim
from spool.jobs.closed_models import ClosedModels
from spool.jobs.conversation_blocks import BLOCK_BYTES, divide
from spool.jobs.job import ENDED, SCHEMA, OnDisconnect, Status
from spool.jobs.scheduling import Conversation, Scheduling
from spool.jobs.scripts import script
from spool.jobs.waits import wait_of
from spool.keys import job as job_key
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, age, done, keep, new_job, store_of, submit, tokens
from tests.damage.mutations import Mutation, P, mutations, mutations_of_indexes
from tests.damage.waiting_jobs import DEMO_WITH_RATES, MODELS, add_waiting_jobs

STATES = ("queued", "running", "spoken", "cancelling", "handed back", "apart", "succeeded", "cancelled")
_EARLIER = [{"role": "user", "content": text * BLOCK_BYTES} for text in "ab"]
_CLAIMS_AT_MOST = 15
_ROUNDS = 2


class Trial:
    """A Redis with a job in ``state`` that things happen to, one that runs beside it and one queued behind it."""

    def __init__(self, link: RedisLink, state: str) -> None:
        link.call("FLUSHALL")
        self.link, self.state = link, state
        self.store = store_of(link)
        self.worker = HandWorker(link, name="one")
        self.other = HandWorker(link, name="other")
        self.worker.beat(free=1)
        self.beside = self._take_job(submit(link, continuable=True).id)
        add_waiting_jobs(link)
        self.batch = new_batch_id(0)
        self.store.open_batch(self.batch, OWNER, 1, ttl_s=60, timeout_s=60)
        self.new = new_job(
            batch=self.batch,
            idempotency_key="key",
            body_digest="digest",
            chat="chat",
            on_disconnect=OnDisconnect.CANCEL,
            continuable=True,
            scheduling=Scheduling(fairness_key="tenant", start_within_s=3000.0, conversation=Conversation("c")),
            input={"messages": [*_EARLIER, {"role": "user", "content": "and?"}], "params": {}},
            divided=divide(_EARLIER),
        )
        self.job_id = self.store.submit(self.new, max_queued=9).job.id
        submit(link, scheduling=Scheduling(conversation=Conversation("c")))
        self.claim = self._brought_to(state)
        self.behind = submit(link).id
        keep(link, lease_ms=60_000)

    def mutations(self) -> list[Mutation]:
        """All that can be wrong with the job."""
        names = {
            "batch": f"batch:{self.batch}",
            "ended": f"batch:{self.batch}:ended",
            "jobs": f"batch:{self.batch}:jobs",
            "idempotency": f"idempotency:{OWNER}:key",
            "chat": f"chat:{OWNER}:chat",
        }
        for number, block in enumerate(self.new.stored().blocks):
            names[f"block {number}"] = f"block:{OWNER}:{block.digest}"
            names[f"users {number}"] = f"block-users:{OWNER}:{block.digest}"
        if self.claim is not None:
            names["fence"] = f"claim:{self.claim.fence}"
        return [*mutations(self.link, self.job_id, names), *mutations_of_indexes(self.link, self.job_id)]

    def run(self, mutation: Mutation, order: random.Random) -> list[str]:
        """What is wrong after this mutation and all scripts in some order; nothing if all is well."""
        mutation.act(self.link)
        found = []
        acts = self._acts()
        order.shuffle(acts)
        for name, act in acts:
            try:
                act()
            except (StoreUnavailable, UndecodableRecord) as exc:
                found.append(f"{name}: {exc!r}")
            except SpoolError:
                continue
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is what the trial looks for
                found.append(f"{name}: {exc!r}")
        return found or self._beside() + self._itself()

    # The job that things happen to.

    def _brought_to(self, state: str) -> Claim | None:
        if state == "queued":
            return None
        claim = self._take_job(self.job_id)
        if state == "running":
            return claim
        if state == "apart":
            for _ in range(2):
                age(self.link, self.job_id, leased_until_ms=1)
                keep(self.link, lease_ms=60_000)
                claim = self.worker.claim(*MODELS) or claim
            return claim
        self.worker.say(claim, "spoken ", "words")
        if state == "cancelling":
            self.store.cancel(self.job_id, OWNER)
        elif state == "handed back":
            self.worker.claims.hand_back(self.job_id, claim.fence, counts=True)
        elif state == "succeeded":
            self.worker.finish(claim)
        elif state == "cancelled":
            self.store.cancel(self.job_id, OWNER)
            self.worker.beat(claim)
        return claim

    def _take_job(self, job_id: str) -> Claim:
        claims = (self.worker.take(DEMO_WITH_RATES) for _ in range(_CLAIMS_AT_MOST))
        return next(claim for claim in claims if claim.job.id == job_id)

    def _acts(self) -> list[tuple[str, Callable[[], object]]]:
        store, link, job_id, claim = self.store, self.link, self.job_id, self.claim
        acts: list[tuple[str, Callable[[], object]]] = [
            ("look", lambda: store.look(job_id, OWNER, with_text=True)),
            ("look_many", lambda: store.look_many([job_id], OWNER)),
            ("newest", lambda: store.newest(OWNER, status=None, limit=10, cursor=None)),
            ("batch", lambda: store.batch(self.batch, OWNER)),
            ("chat", lambda: store.newest_of_chat("chat", OWNER)),
            ("submit again", lambda: store.submit(self.new, max_queued=9)),
            ("replay", lambda: store.submit(new_job(idempotency_key="key", body_digest="digest"), max_queued=9)),
            ("keep", lambda: keep(link, lease_ms=60_000)),
            ("explain", self._explain),
            ("closed models", lambda: ClosedModels(self.worker.shards).look()),
            ("watch", lambda: link.run(script("watch"), 0, 60_000, job_id)),
        ]
        if claim is not None:
            commit = self.worker.commit(claim, claim.first, tokens(claim.first, "x"), "x")
            acts += [
                ("beat", lambda: self.worker.beat(claim, self.beside, free=1)),
                ("append", lambda: self.worker.append_many([commit])),
                ("adopt", lambda: self.worker.claims.adopt(claim)),
                ("disown", lambda: self.worker.claims.disown(claim)),
                ("hand back", lambda: self.worker.claims.hand_back(job_id, claim.fence, counts=True)),
                ("claim again", lambda: self._tolerant_claim(self.worker, claim.fence)),
            ]
        if self.state in ("succeeded", "cancelled"):
            acts.append(("delete", lambda: store.delete(job_id, OWNER)))
        return acts

    def _explain(self) -> None:
        facts, places = self.store.look_queue("demo", [self.job_id, self.behind])
        for place in places.values():
            wait_of(facts, place).message()

    @staticmethod
    def _tolerant_claim(worker: HandWorker, fence: str = "") -> Claim | None:
        # A job that cannot be read has ended with this; the next claim needs another fence.
        with suppress(UndecodableRecord):
            return worker.claim(*MODELS, fence=fence)
        return None

    # What must not have noticed.

    def _beside(self) -> list[str]:
        found = []
        answer = self.worker.beat(self.beside)
        if answer not in ([b"ok"], [b"whole"]):
            found.append(f"a heartbeat beside it is answered {answer}")
        first = self.beside.first
        answer = self.worker.append(self.beside, first, tokens(first, "x"), text="x")
        if answer != first:
            found.append(f"an append beside it is answered {answer}")
        if self.worker.finish(self.beside) != first + 1:
            found.append("the job beside it did not end")
        for job_id in (self.behind, submit(self.link).id):
            if not self._ends(job_id):
                found.append("a job behind it was not claimed")
        if keep(self.link) is None:
            found.append("the keeper does not keep")
        return found

    def _ends(self, job_id: str) -> bool:
        if self.store.look(job_id, OWNER).status is Status.RUNNING:
            # The claim that was asked again has got it, since what it had is forgotten.
            return True
        for _ in range(_CLAIMS_AT_MOST):
            # The moment is over in which claims wait for workers to be heard, and the model's limits allow jobs again.
            times = [("server", "since_ms"), ("bucket:rpm:demo", "at_ms"), ("bucket:tpm:demo", "at_ms")]
            self.link.pipeline_each([("HSET", f"{P}{name}", field, 1) for name, field in times])
            # An index that was displaced or deleted is filled again by the keeper.
            for _ in range(_ROUNDS):
                keep(self.link, lease_ms=60_000)
            claim = self._tolerant_claim(self.other)
            if claim is None:
                if self.store.look(job_id, OWNER).ended:
                    return True
                continue
            self.other.append(claim, claim.first, [done(claim.first)], ending=b'{"status":"succeeded"}')
            if claim.job.id == job_id:
                return self.store.look(job_id, OWNER).status is Status.SUCCEEDED
        return False

    def _itself(self) -> list[str]:
        """Past its deadline the job has ended, is set aside, waits for a newer version, or is not there at all."""
        key = job_key(self.job_id)
        if self.link.call("TYPE", key) != b"hash":
            return []
        schema, status = self.link.call("HMGET", key, "schema", "status")
        if schema in (b"%d" % (SCHEMA + 1), b"7", b"999999999999999") or (status or b"").decode() in ENDED:
            return []
        self.link.call("HSET", key, "deadline_ms", 1)
        self.link.call("ZADD", f"{P}deadlines", "XX", 1, self.job_id)
        keep(self.link)
        status = self.link.call("HGET", key, "status") or b""
        if not self.link.call("EXISTS", key):
            return []
        aside = self.link.call("HEXISTS", f"{P}set-aside", self.job_id)
        if status.decode() in ENDED or aside:
            return []
        return [f"it is {status!r} past its deadline"]
