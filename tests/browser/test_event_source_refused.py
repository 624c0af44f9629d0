"""A browser's own EventSource at a web that is full, that drains, or whose log has lost entries. (Cuts, restarts, Redis
that is away, and the end: test_event_source.py.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import Jobs, Watched, forgive_lost_connections
from tests.browser.test_event_source import Listening, back, check, check_silence
from tests.faults.checker import PREFIX
from tests.faults.measured import measured
from tests.faults.peers import attach_to
from tests.stack import Stack, running_stack, wait_for


@pytest.fixture
def one_place(directory: Path) -> Iterator[Stack]:
    """A web that carries one stream."""
    with running_stack(directory, webs=1, workers=1, MAX_STREAMS=1, DRAIN_S=2) as running:
        yield running


@pytest.fixture
def its_jobs(one_place: Stack) -> Iterator[Jobs]:
    """Jobs of that web."""
    with one_place.client() as client:
        yield Jobs(client)


def test_event_source_at_the_cap(watched: Watched, one_place: Stack, its_jobs: Jobs) -> None:
    """Told ``unavailable`` at a web that is full, it asks again by itself, and reads once there is a place."""
    web = one_place.webs[0]
    other = attach_to(web, its_jobs.submit(tokens=1, first_token_s=600), "ndjson")
    listening = Listening(watched, web.url, its_jobs.submit(tokens=100, rate=40))
    watched.until("unavailable >= 2", "it was told twice that there is no place")
    assert watched.page.evaluate("seen.length") == 0
    other.leave()
    took_s = back(watched, 0)
    check(listening.until_closed(), its_jobs.ended(listening.job))
    assert set(listening.stream_answers()) == {200, 204}
    measured("EventSource at the cap", back_s=round(took_s, 2))


def test_event_source_through_a_drain(new_page: Callable[[], Watched], one_place: Stack, its_jobs: Jobs) -> None:
    """Told ``reconnect`` by a web that drains, it finds the next one, from the entry that it has."""
    watched, web = new_page(), one_place.webs[0]
    listening = Listening(watched, web.url, its_jobs.submit(tokens=400, rate=40))
    listening.until_seen(40)
    web.stop()
    assert watched.page.evaluate("reconnect") == 1
    was = watched.page.evaluate("seen.length")
    web.start()
    wait_for(web.is_ready, "the web is back", 30)
    took_s = back(watched, was)
    check(listening.until_closed(), its_jobs.ended(listening.job))
    check_silence(listening, its_jobs)
    forgive_lost_connections(watched)
    measured("EventSource through a drain", back_s=round(took_s, 2))


def test_event_source_with_a_gap(watched: Watched, own_stack: Stack, own_jobs: Jobs) -> None:
    """Told of a gap, it goes on behind it, and after the end it is still."""
    job = own_jobs.submit(tokens=200, rate=40)
    wait_for(lambda: own_jobs.look(job)["last_entry"] >= 60, "60 entries")
    own_stack.redis.link.call("XTRIM", f"{PREFIX}job:{job}:log", "MINID", "50-0")
    listening = Listening(watched, own_stack.webs[0].url, job)
    entries = listening.until_closed()
    assert [entry["id"] for entry in entries] == list(range(50, own_jobs.ended(job)["last_entry"] + 1))
    (gap,) = watched.page.evaluate("gaps")
    assert (gap["requested"], gap["earliest"], gap["cursor"]) == (1, 50, "49")
    check_silence(listening, own_jobs)


def test_event_source_of_a_log_that_is_gone(watched: Watched, own_stack: Stack, own_jobs: Jobs) -> None:
    """Where nothing is left of an ended log, it is told once, asks once more, gets 204 and is still."""
    job = own_jobs.submit(tokens=20, rate=0)
    last = own_jobs.ended(job)["last_entry"]
    own_stack.redis.link.call("DEL", f"{PREFIX}job:{job}:log")
    listening = Listening(watched, own_stack.webs[0].url, job)
    assert listening.until_closed() == []
    assert watched.page.evaluate("gaps") == [
        {"type": "gap", "requested": 1, "earliest": None, "latest": None, "cursor": str(last)}
    ]
    assert listening.stream_answers() == [200, 204]
    check_silence(listening, own_jobs)
