"""A mixed load on a stack, for as long as it is told to: submits, batches, cancels, readers on every transport. Some of
these leave, some are slow, some wait for what does not come. Each job is checked when its readers are done."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from spool.errors import StoreUnavailable
from tests.faults.caller import Caller
from tests.faults.checker import Accepted, check_job, check_reader
from tests.faults.crowd import Crowd
from tests.faults.following import Following
from tests.faults.transports import TRANSPORTS
from tests.stack import Stack

_WITHIN_S = 120.0
_BATCH = 12


class Load:
    """``rate``: submits per second, about. ``counts`` says what it did, ``violations`` what was wrong."""

    def __init__(self, stack: Stack, *, rate: float, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._stack = stack
        self._rate = rate
        self._chance = random.Random(seed)
        urls = [web.url for web in stack.webs]
        self._crowd = Crowd(urls, pause_at_most_s=0.5, silence_s=30, remembers=False)
        self._caller = Caller(urls)
        self._open: deque[tuple[Accepted, list[Following]]] = deque()
        self._pool = ThreadPoolExecutor(32)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go, name="load")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """No more jobs; wait until all have ended and everybody has read them, and check the last."""
        self._stopped.set()
        self._thread.join()
        self._pool.shutdown()
        deadline = time.monotonic() + _WITHIN_S + 15
        while self._open and time.monotonic() < deadline:
            self._check_ended()
            time.sleep(0.1)
        self.violations += [f"{accepted.id}: its readers still read" for accepted, _ in self._open]
        self.violations += self._caller.violations
        self._caller.close()
        self._crowd.close()

    def _go(self) -> None:
        number = 0
        while not self._stopped.wait(self._chance.expovariate(self._rate)):
            number += 1
            if number % 40 == 0:
                self._pool.submit(self._batch, number)
            else:
                self._pool.submit(self._one, number, random.Random(self._chance.random()))
            self._check_ended()

    def _one(self, number: int, chance: random.Random) -> None:
        """One job with its readers, and sometimes a cancel."""
        rate = chance.choice([0, 30, 60, 120])
        params: dict[str, Any] = {"seed": number, "rate": rate, "first_token_s": chance.choice([0.0, 0.2, 1.0])}
        params["tokens"] = int(rate * chance.uniform(0.3, 5)) or chance.randint(1, 800)
        body: dict[str, Any] = {"prompt": f"soak {number}", "params": params, "model": "demo"}
        job_id = self._caller.submit(body)
        if job_id is None:
            return
        self.counts["jobs"] += 1
        followings = [self._follow(job_id, "sse")]
        for _ in range(chance.randint(0, 3)):
            leave_after = chance.randint(0, 40) if chance.random() < 0.3 else None
            pace = (400, 0.02) if chance.random() < 0.1 else None
            followings.append(self._follow(job_id, chance.choice(list(TRANSPORTS)), leave_after=leave_after, pace=pace))
        self._open.append((Accepted(job_id, body["prompt"], params), followings))
        if chance.random() < 0.1:
            self.counts["cancels"] += 1
            self._caller.cancel(job_id)
        if chance.random() < 0.1:
            self._idle(number)

    def _idle(self, number: int) -> None:
        """Readers of a job that says nothing for long: they leave, each in the middle of its wait."""
        params = {"tokens": 1, "first_token_s": 600.0}
        job_id = self._caller.submit({"prompt": f"idle {number}", "params": params, "model": "demo"})
        if job_id is None:
            return
        self.counts["jobs"] += 1
        readers = [self._follow(job_id, transport) for transport in TRANSPORTS]
        self._stopped.wait(2)
        for reader in readers:
            self._crowd.leave(reader)
        self.counts["left idle"] += len(readers)
        self.counts["cancels"] += 1
        self._open.append((Accepted(job_id, f"idle {number}", params), [*readers, self._follow(job_id, "sse")]))
        self._caller.cancel(job_id)

    def _batch(self, number: int) -> None:
        params = {"tokens": 20, "rate": 100, "seed": number}
        bodies = [{"prompt": f"batch {number}.{n}", "params": params, "model": "demo"} for n in range(_BATCH)]
        for job_id, body in zip(self._caller.submit_batch(bodies) or [], bodies, strict=False):
            self.counts["jobs"] += 1
            self._open.append((Accepted(job_id, str(body["prompt"]), params), [self._follow(job_id, "long_polling")]))

    def _follow(self, job_id: str, transport: str, **options: Any) -> Following:
        self.counts["readers"] += 1
        return self._crowd.follow(job_id, transport, within_s=_WITHIN_S, **options)

    def _check_ended(self) -> None:
        """Check each job whose readers are done, before it expires."""
        for _ in range(len(self._open)):
            accepted, followings = self._open.popleft()
            try:
                if all(one.finished for one in followings):
                    self._check(accepted, followings)
                    continue
            except StoreUnavailable:
                self.counts["checks put off"] += 1
            self._open.append((accepted, followings))

    def _check(self, accepted: Accepted, followings: list[Following]) -> None:
        log, wrong = check_job(self._stack, accepted)
        for following in followings:
            wrong += check_reader(following, log)
            self.counts["reconnects"] += following.reconnects
        self.counts["entries"] += len(log)
        end = json.loads(log[-1][1]) if log else {"kind": "nothing"}
        self.counts[end["kind"]] += 1
        if end["kind"] not in ("done", "cancelled"):
            wrong.append(f"{accepted.id} ended {end}")
        self.violations += wrong
