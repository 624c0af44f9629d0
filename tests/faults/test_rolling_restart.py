"""A deploy: every web and every worker is stopped and started again, one after the other, while hundreds read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.following import Following
from tests.faults.jobs import Jobs
from tests.faults.latency import percentile
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.faults.vitals import broke
from tests.stack import Process, Stack, running_stack, wait_for

STREAMS, TEXTS = 300, 30
TOKENS, RATE = 180, 4
DRAIN_S, WORKER_DRAIN_S = 5, 2
RESUMING = [name for name in TRANSPORTS if name != "text"]
STREAMED = {"sse", "ndjson", "websocket", "websocket_many"}


@dataclass
class Restarts:
    """Stops and starts the parts of a stack in turn, and notes when the readers of a stream had to come back."""

    stack: Stack
    readers: Sequence[Following]
    ends: dict[str, list[float]] = field(default_factory=dict)
    """For each web: how many seconds after its SIGTERM each of its streams ended."""
    took_s: dict[str, float] = field(default_factory=dict)

    def webs(self) -> None:
        """All webs, one after the other."""
        for web in self.stack.webs:
            self._restart(web)
            wait_for(web.is_ready, f"{web.name} is ready", 30)

    def workers(self) -> None:
        """All workers, one after the other."""
        for number, worker in enumerate(self.stack.workers):
            self._restart(worker)
            wait_for(lambda: self.stack.worker_count() == 2, f"worker {number} is ready", 30)

    def _restart(self, process: Process) -> None:
        over, began = threading.Event(), time.monotonic()
        watch = threading.Thread(target=self._watch, args=(process, began, over))
        watch.start()
        assert process.stop(30) == 0
        over.set()
        watch.join()
        self.took_s[process.name] = time.monotonic() - began
        process.start()

    def _watch(self, process: Process, began: float, over: threading.Event) -> None:
        streams = [one for one in self.readers if one.transport in STREAMED]
        seen = sum(len(one.turns) for one in streams)
        while not over.wait(0.05):
            now = sum(len(one.turns) for one in streams)
            self.ends.setdefault(process.name, []).extend([time.monotonic() - began] * (now - seen))
            seen = now


def thickest(ends: Iterable[float], window_s: float) -> float:
    """The largest part of the ends that falls into any window of that length."""
    ordered = list(ends)
    return max(sum(at <= one < at + window_s for one in ordered) for at in ordered) / len(ordered)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_rolling_restart_under_load(directory: Path) -> None:
    """All webs and, at the same time, all workers are restarted in turn under 300 readers of jobs that take much longer
    than any drain. No reader that honours ``reconnect`` and EOF meets an error, none misses an entry or gets one twice,
    99 of 100 arrivals come within 3 s of the one before, and a web's streams end spread over its drain."""
    options = {"DRAIN_S": DRAIN_S, "WORKER_DRAIN_S": WORKER_DRAIN_S, "concurrency": STREAMS}
    with running_stack(directory, **options) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        ids = jobs.submit_many(STREAMS, tokens=TOKENS, rate=RATE)
        readers = [crowd.follow(job, RESUMING[n % len(RESUMING)]) for n, job in enumerate(ids)]
        texts = [crowd.follow(job, "text") for job in ids[:TEXTS]]
        jobs.wait_for_entries(ids, 4, 60)
        restarts = Restarts(stack, readers)
        began = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            for going in [pool.submit(restarts.webs), pool.submit(restarts.workers)]:
                going.result()
        took_s = time.monotonic() - began
        assert "running" in jobs.fields(ids, "status"), "the jobs are shorter than the restarts"
        jobs.wait_for_end(within_s=120)
        assert crowd.unfinished(30) == []
        assert jobs.violations(crowd.followings) == []
        assert set(jobs.fields(ids, "status")) == {"succeeded"}
        assert set(jobs.fields(ids, "losses")) == {"0"}
        assert broke(*stack.webs) == []
        longest = [one.longest_gap_s for one in readers]
        gaps = [b - a for one in readers for a, b in zip(one.times, one.times[1:], strict=False)]
        thick = {name: thickest(restarts.ends[name], 0.5) for name in ("web0", "web1")}
        measured(
            "rolling restart of all webs and workers",
            streams=STREAMS,
            restarts_s=round(took_s, 1),
            stop_s={name: round(s, 1) for name, s in restarts.took_s.items()},
            gap_p99_s=round(percentile(gaps, 0.99), 2),
            longest_gap_p50_p99_max_s=[round(percentile(longest, part), 2) for part in (0.5, 0.99, 1)],
            reconnects=sum(one.reconnects for one in readers),
            most_ends_within_half_a_second={name: f"{part:.0%}" for name, part in thick.items()},
            texts_whole=sum(one.ended for one in texts),
            errors=0,
        )
        assert percentile(gaps, 0.99) < 3
        assert max(thick.values()) < 0.6
