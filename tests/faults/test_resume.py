"""Resuming: thousands at once, from every boundary of a burst, at any instant while webs come and go."""

from __future__ import annotations

import json
import random
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.by_hand import HandWorker
from tests.faults.checker import check_log, check_reader, read_log
from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.latency import percentile
from tests.faults.measured import measured
from tests.faults.transports import TRANSPORTS
from tests.faults.vitals import broke
from tests.stack import Stack, running_stack, wait_for

READERS, LOGS, ENTRIES = 5000, 50, 100
BURST, SAMPLE = 10_000, 100
PAGE = 100
RESUMING = [name for name in TRANSPORTS if name != "text"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_five_thousand_readers_resume_at_once(directory: Path) -> None:
    """5,000 readers who come back within a second, each from its own cursor, on all transports: all are served, with
    exactly what they missed, and go on to the end."""
    with (
        running_stack(directory, webs=2, workers=0) as stack,
        Crowd([web.url for web in stack.webs], pause_at_most_s=2) as crowd,
    ):
        jobs, hand = Jobs(stack), HandWorker(stack.redis.link, lease_s=300)
        ids = [jobs.submit(f"log {number}") for number in range(LOGS)]
        claims = [hand.take_job(job) for job in ids]
        for claim in claims:
            hand.say(claim, *(f"word {number} " for number in range(ENTRIES - 1)))
        chance = random.Random(READERS)
        who = [(ids[n % LOGS], RESUMING[n % len(RESUMING)], chance.randrange(ENTRIES - 1)) for n in range(READERS)]
        began = time.monotonic()
        readers = [crowd.follow(*one, within_s=300) for one in who]
        asked_s = time.monotonic() - began
        wait_for(lambda: all(one.cursor == ENTRIES for one in readers), "everybody has caught up", 200)
        served = [one.times[0] - began for one in readers]
        for claim in claims:
            hand.say(claim, "the last")
            hand.finish(claim)
        assert crowd.unfinished(120) == []
        found = [wrong for job in ids for wrong in check_log(read_log(stack, job))]
        logs = {job: read_log(stack, job) for job in ids}
        assert broke(*stack.webs) == []
        assert found + [wrong for one in readers for wrong in check_reader(one, logs[one.job])] == []
        measured(
            "5,000 readers resume at once",
            asked_within_s=round(asked_s, 2),
            first_entry_p50_s=round(percentile(served, 0.5), 2),
            first_entry_p99_s=round(percentile(served, 0.99), 2),
            all_served_s=round(max(served), 2),
            refused=sum(why in ("unavailable", "status 503") for one in readers for why in one.turns),
        )
        assert asked_s < 5


def ask_from_every_cursor(stack: Stack, job: str, log: list[tuple[int, bytes]]) -> int:
    """Ask for a page from each cursor there is, and hold its bytes against the log. Each page is exact, and each leads
    to one that was asked for too: so is every suffix. The number of cursors."""
    raws, last = [raw for _, raw in log], log[-1][0]
    connection = HTTPConnection("127.0.0.1", stack.webs[0].port, timeout=30)
    for after in range(last + 1):
        connection.request("GET", f"/jobs/{job}/entries?after={after}&wait=0&limit={PAGE}")
        page = connection.getresponse().read()
        due = raws[after : after + PAGE]
        following = after + len(due)
        tail = {"next": following, "ended": following == last, "status": "succeeded", "gap": None}
        rest = json.dumps(tail, separators=(",", ":"))[1:].encode()
        assert page == b'{"entries":[' + b",".join(due) + b"]," + rest, f"after {after}"
    connection.close()
    return last + 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_resume_at_every_boundary_of_a_burst(directory: Path) -> None:
    """10,000 tokens as fast as they come, to readers on every transport. Then from each of the 10,000 cursors the exact
    suffix, and on every transport from a hundred of them chosen at random, with the first and the last."""
    with running_stack(directory, webs=2, workers=1) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        job = jobs.submit(tokens=BURST, rate=0, first_token_s=1)
        live = [crowd.follow(job, transport) for transport in TRANSPORTS]
        jobs.wait_for_end(within_s=60)
        assert crowd.unfinished(60) == []
        assert jobs.violations(live) == []
        assert sum(one.reconnects for one in live) == 0
        log = read_log(stack, job)
        began = time.monotonic()
        cursors = ask_from_every_cursor(stack, job, log)
        assert cursors > BURST
        chance, last = random.Random(BURST), log[-1][0]
        for transport in RESUMING:
            sample = [0, 1, last - 2, last - 1, last, *chance.sample(range(last), SAMPLE)]
            readers = [crowd.follow(job, transport, after) for after in sample]
            assert crowd.unfinished(120, readers) == []
            assert jobs.violations(readers) == []
        measured(
            "10,000 tokens in one burst, resume at every boundary",
            cursors=cursors,
            sampled=f"{SAMPLE + 5} on each of {len(RESUMING)} transports",
            took_s=round(time.monotonic() - began),
            wrong=0,
        )
