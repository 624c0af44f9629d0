"""Hundreds of readers that take a byte a second: they cost a bounded amount of memory, and nobody else anything."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, let_pass
from tests.faults.latency import latencies_ms, percentile
from tests.faults.measured import measured
from tests.faults.vitals import broke, kernel_tcp_mb, open_streams, rss_mb
from tests.stack import Web, running_stack

SLOW, OTHERS = 500, 40
AT_ONCE = 25
STALL_S = 15


class Memory:
    """The most that a web and the kernel's connections have held since the beginning."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self.web_before, self.kernel_before = rss_mb(web), kernel_tcp_mb()
        self.web_most, self.kernel_most = 0.0, 0.0

    def look(self) -> None:
        """Look once more."""
        self.web_most = max(self.web_most, rss_mb(self._web))
        self.kernel_most = max(self.kernel_most, kernel_tcp_mb())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_readers_at_a_byte_a_second(directory: Path) -> None:
    """500 readers of a long log at a byte a second each: for each of them the web holds less than 300 KB, and the
    kernel too; others get their tokens as promptly as before; and after the stall limit all of them are closed."""
    with running_stack(directory, webs=1, workers=1, STALL_S=STALL_S) as stack:
        web, urls = stack.webs[0], [stack.webs[0].url]
        with Crowd(urls) as crowd, Crowd(urls) as slow:
            jobs = Jobs(stack)
            long = jobs.submit("long", tokens=8000, rate=0)
            jobs.wait_for_end([long])
            for number in range(OTHERS):
                crowd.follow(jobs.submit(f"other {number}", tokens=700, rate=15, stamp=True), "sse")
            jobs.wait_for_entries([one.job for one in crowd.followings], 5)
            began, memory = time.monotonic(), Memory(web)
            let_pass(8)
            attached = time.monotonic()
            while len(slow.followings) < SLOW:
                # Not all in a moment: their replays are not what this is about.
                for _ in range(AT_ONCE):
                    slow.follow(long, "sse", pace=(1, 1.0), within_s=120)
                let_pass(0.5)
                memory.look()
            stalled = time.monotonic()
            while open_streams(web) > OTHERS:
                assert time.monotonic() < stalled + 3 * STALL_S, "not closed after the stall limit"
                memory.look()
                let_pass(0.25)
            closed = time.monotonic()
            assert crowd.unfinished(60) == []
            assert [one.errors for one in crowd.followings if one.errors or one.reconnects] == []
            assert not any(one.ended for one in slow.followings)
            assert broke(web) == []
        before_ms, during_ms = (
            percentile(latencies_ms(crowd.followings, *span), 0.99) for span in ((began, attached), (stalled, closed))
        )
        measured(
            "500 readers at 1 byte/s",
            stall_s=STALL_S,
            all_closed_s=round(closed - stalled, 1),
            web_mb=f"{memory.web_before:.0f}, at most {memory.web_most:.0f}",
            kernel_mb=f"{memory.kernel_before:.0f}, at most {memory.kernel_most:.0f}",
            others_p99_ms=f"{before_ms:.1f}, meanwhile {during_ms:.1f}",
        )
        assert memory.web_most - memory.web_before < SLOW * 0.3
        assert memory.kernel_most - memory.kernel_before < SLOW * 0.3
        assert during_ms < 4 * before_ms + 100
