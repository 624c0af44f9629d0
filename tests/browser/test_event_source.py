"""A browser's own EventSource, with no code of ours: it comes back by itself, and stops for good after the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import Jobs, Watched, forgive_lost_connections
from tests.browser.cutting_proxy import CuttingProxy
from tests.faults.measured import measured
from tests.stack import Stack, wait_for

_LISTEN = """(url) => {
    window.seen = [];
    window.opened = 0;
    window.unavailable = 0;
    window.reconnect = 0;
    window.gaps = [];
    window.source = new EventSource(url);
    source.onopen = () => { opened += 1; };
    source.addEventListener("unavailable", () => { unavailable += 1; });
    source.addEventListener("reconnect", () => { reconnect += 1; });
    source.addEventListener("gap", (event) => gaps.push({ ...JSON.parse(event.data), cursor: event.lastEventId }));
    const kinds = ["started", "token", "usage", "restarted", "continued", "waiting", "done", "failed", "cancelled"];
    for (const kind of kinds) source.addEventListener(kind, (event) => seen.push({
        ...JSON.parse(event.data), cursor: event.lastEventId,
    }));
}"""
_ENDED = "source.readyState === EventSource.CLOSED"


class Listening:
    """A page whose EventSource follows one job."""

    def __init__(self, watched: Watched, base_url: str, job: str) -> None:
        self.watched = watched
        self.job = job
        watched.page.goto(f"{base_url}/static/icon.svg")
        watched.page.evaluate(_LISTEN, f"/jobs/{job}/stream")

    def until_seen(self, count: int) -> None:
        """Until so many entries have come."""
        self.watched.until(f"seen.length >= {count}", f"{count} entries came")

    def until_closed(self) -> list[dict[str, Any]]:
        """The entries, once the browser has given up by itself."""
        self.watched.until(_ENDED, "the EventSource is closed", 40)
        return list(self.watched.page.evaluate("seen"))

    def stream_answers(self) -> list[int]:
        """The status of every answer to a request for the stream."""
        return [status for status, url in self.watched.answers if f"{self.job}/stream" in url]


def check(entries: list[dict[str, Any]], job: dict[str, Any]) -> None:
    """Every entry once, in order, as the text says."""
    assert job["status"] == "succeeded"
    assert [entry["id"] for entry in entries] == list(range(1, job["last_entry"] + 1))
    assert [entry["cursor"] for entry in entries] == [str(entry["id"]) for entry in entries]
    assert "".join(entry.get("text", "") for entry in entries) == job["text"]
    assert entries[-1]["kind"] == "done"


def back(watched: Watched, was: int) -> float:
    """Wait until there is more than there was, and say how long it took from the server's return, which was now. It
    should be 3 s; a busy machine may be late."""
    began = time.monotonic()
    watched.until(f"seen.length > {was}", "it reads again")
    took_s = time.monotonic() - began
    assert took_s < 3.0 + 1.5
    return took_s


def check_silence(listening: Listening, jobs: Jobs) -> None:
    """Nothing is asked for the ended job while another one, which takes longer than any retry, runs to its end."""
    before = listening.stream_answers()
    assert before[-1] == 204
    assert before.count(204) == 1
    jobs.ended(jobs.submit(tokens=60, rate=25))
    # Lets playwright hand over what the browser did meanwhile.
    listening.watched.page.wait_for_timeout(1)
    assert listening.stream_answers() == before


@pytest.mark.slow
def test_event_source_after_a_cut(watched: Watched, proxy: CuttingProxy, jobs: Jobs) -> None:
    """Three resets in the middle of an answer cost no entry, and after the end comes one 204 and nothing more."""
    listening = Listening(watched, proxy.url, jobs.submit(tokens=240, rate=40))
    for cut in (1, 2, 3):
        listening.until_seen(30 * cut)
        assert proxy.cut() > 0
        watched.until(f"opened === {cut + 1}", f"it came back after cut {cut}")
    entries = listening.until_closed()
    check(entries, jobs.ended(listening.job))
    check_silence(listening, jobs)
    # The first, one after each cut, and the last, which got the 204.
    assert len(proxy.requests_for(listening.job)) == 5
    forgive_lost_connections(watched)


def _restart_web(stack: Stack) -> None:
    stack.webs[0].stop()
    stack.webs[0].start()
    wait_for(stack.webs[0].is_ready, "the web is back", 30)


def _kill_web(stack: Stack) -> None:
    stack.webs[0].kill()
    stack.webs[0].start()
    wait_for(stack.webs[0].is_ready, "the web is back", 30)


def _restart_redis(stack: Stack) -> None:
    stack.redis.stop()
    stack.redis.start()
    wait_for(stack.redis.is_ready, "Redis is back")


@pytest.mark.parametrize("restart", [_restart_web, _kill_web, _restart_redis])
def test_event_source_after_a_restart(
    new_page: Callable[[], Watched], own_stack: Stack, own_jobs: Jobs, restart: Callable[[Stack], None]
) -> None:
    """A web or a Redis that goes away and comes back costs no entry, and the EventSource needs no help."""
    watched = new_page()
    listening = Listening(watched, own_stack.webs[0].url, own_jobs.submit(tokens=300, rate=40))
    listening.until_seen(40)
    restart(own_stack)
    took_s = back(watched, watched.page.evaluate("seen.length"))
    measured(f"EventSource: {restart.__name__.strip('_').replace('_', ' ')}", back_s=round(took_s, 2))
    entries = listening.until_closed()
    check(entries, own_jobs.ended(listening.job))
    # A web holds on to its readers while Redis is away; its own end it cannot hide.
    assert watched.page.evaluate("opened") >= (1 if restart is _restart_redis else 2)
    check_silence(listening, own_jobs)
    forgive_lost_connections(watched)


def test_event_source_that_comes_back_while_redis_is_away(
    new_page: Callable[[], Watched], own_stack: Stack, own_jobs: Jobs
) -> None:
    """Told ``unavailable`` instead of a status that would end it, it asks again until Redis is back."""
    watched = new_page()
    proxy = CuttingProxy(own_stack.webs[0].port)
    listening = Listening(watched, proxy.url, own_jobs.submit(tokens=300, rate=40))
    listening.until_seen(40)
    own_stack.redis.stop()
    proxy.cut()
    watched.until("unavailable > 0", "it was told that Redis is away")
    own_stack.redis.start()
    wait_for(own_stack.redis.is_ready, "Redis is back")
    took_s = back(watched, watched.page.evaluate("seen.length"))
    measured("EventSource: comes back while Redis is away", back_s=round(took_s, 2))
    entries = listening.until_closed()
    check(entries, own_jobs.ended(listening.job))
    check_silence(listening, own_jobs)
    proxy.close()
    forgive_lost_connections(watched)
