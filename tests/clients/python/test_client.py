"""Both clients against a real Spool, through cuts, blocked transports and restarts of everything."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from spool_client import AsyncClient, Client, SpoolError, Timing, Unreachable
from tests.browser.cutting_proxy import CuttingProxy
from tests.clients.conftest import Jobs
from tests.clients.http_proxy import ENTRIES, LONG_POLL, STREAM, HttpProxy
from tests.clients.python.conftest import Follow
from tests.stack import Stack, wait_for

pytestmark = pytest.mark.slow

ALL = ["sse", "long", "short", "answer"]
FAST = replace(Timing(), silence_s=0.8, look_s=0.8, request_s=2.0, connect_s=1.0, retry_s=0.05, poll_s=0.05)
"""For tests that must not wait: the decisions are the same."""

LADDER: dict[str, tuple[list[str], list[str], list[str], str]] = {
    "nothing": ([], [], [], "sse"),
    "SSE is answered 502": ([STREAM], [], [], "long"),
    "SSE is held back until its end": ([], [], [STREAM], "long"),
    "SSE is never answered": ([], [STREAM], [], "long"),
    "everything but short polling is answered 502": ([STREAM, LONG_POLL], [], [], "short"),
    "everything but short polling is never answered": ([], [STREAM, LONG_POLL], [], "short"),
    "everything but GET /jobs/{id}": ([STREAM, ENTRIES], [], [], "answer"),
}
"""What is blocked: refused, swallowed, held back; and the transport that the client comes to."""


@pytest.mark.parametrize("transport", ALL)
def test_follow_by_each_transport(stack: Stack, jobs: Jobs, follow: Follow, transport: str) -> None:
    """A job that runs is read to its end: the text is the log's, and nothing comes twice."""
    job = jobs.submit(tokens=40, rate=60)
    reader = follow(stack.webs[0].url, job, transports=[transport])
    reader.whole(jobs.ended(job))
    assert {used for _, used in reader.states} == {transport}


@pytest.mark.parametrize("blocked", LADDER)
def test_ladder_while_something_is_blocked(proxy: HttpProxy, jobs: Jobs, follow: Follow, blocked: str) -> None:
    """The client finds the best transport that is let through, by itself and in seconds."""
    proxy.refused, proxy.swallowed, proxy.held, expected = LADDER[blocked]
    job = jobs.submit(tokens=2000, rate=40)
    reader = follow(proxy.url, job)
    reader.until_entry(5)
    assert reader.states[-1][1] == expected
    jobs.cancel(job)
    reader.whole(jobs.ended(job))
    print(f"{blocked}: {expected}, text after {reader.first_text_s:.1f} s")


def test_ladder_climbs_up_again(proxy: HttpProxy, jobs: Jobs, follow: Follow) -> None:
    """When the better transports are let through again, the client comes back to them."""
    proxy.refused = [STREAM, LONG_POLL]
    job = jobs.submit(tokens=2000, rate=40)
    reader = follow(proxy.url, job, timing=replace(FAST, climb_s=0.5))
    reader.until_entry(5)
    assert reader.states[-1][1] == "short"
    proxy.refused = []
    at = len(reader.states)
    reader.until_entry(reader.last_entry + 150)
    assert ("live", "sse") in reader.states[at:]
    jobs.cancel(job)
    reader.whole(jobs.ended(job))


@pytest.mark.parametrize("transport", ALL)
def test_follow_when_cut_twenty_times(cutter: CuttingProxy, jobs: Jobs, follow: Follow, transport: str) -> None:
    """Each of twenty cuts in one answer costs nothing: every entry is there once, over the same transport."""
    job = jobs.submit(tokens=5000, rate=60)
    reader = follow(cutter.url, job, transports=[transport], timing=FAST)
    for _ in range(20):
        reader.until_entry(reader.last_entry + 3)
        cutter.cut()
    jobs.cancel(job)
    reader.whole(jobs.ended(job))


def test_follow_into_a_black_hole(cutter: CuttingProxy, jobs: Jobs, follow: Follow) -> None:
    """A connection that dies without a word is noticed, and the reader returns once the network does."""
    job = jobs.submit(tokens=5000, rate=40)
    reader = follow(cutter.url, job, timing=FAST)
    at = reader.until_entry(20)
    states = len(reader.states)
    cutter.black_hole()
    _until_state(reader, "waiting", states)
    cutter.cut()
    cutter.normal()
    reader.until_entry(at + 60, within_s=10)
    jobs.cancel(job)
    reader.whole(jobs.ended(job))


def test_follow_when_one_connection_dies_in_silence(proxy: HttpProxy, jobs: Jobs, follow: Follow) -> None:
    """With the client's own timing, a dead connection among live ones is left within seconds."""
    job = jobs.submit(tokens=5000, rate=40)
    reader = follow(proxy.url, job)
    at = reader.until_entry(20)
    proxy.freeze()
    reader.until_entry(at + 60, within_s=10)
    jobs.cancel(job)
    assert reader.whole(jobs.ended(job)).connections == 2


def test_follow_a_quiet_job(stack: Stack, jobs: Jobs, follow: Follow) -> None:
    """A job that says nothing for a while is no dead connection: it is followed to its end, once."""
    job = jobs.submit(tokens=5, first_token_s=4)
    reader = follow(stack.webs[0].url, job, timing=FAST)
    reader.whole(jobs.ended(job))
    assert ("live", "long") not in reader.states


def test_follow_an_unknown_job(stack: Stack, follow: Follow) -> None:
    """An unknown job is a refusal, in the server's words."""
    reader = follow(stack.webs[0].url, "j0-00000000000000000000000000")
    assert reader.end().connection == "refused"
    assert reader.error is not None
    assert (reader.error.status, reader.error.title) == (404, "Not found")


@pytest.mark.parametrize("signal", ["stop", "kill"])
def test_follow_when_the_server_restarts(own_stack: Stack, own_jobs: Jobs, follow: Follow, signal: str) -> None:
    """A web that drains or dies costs nothing: the reader is back within three seconds of its return."""
    job = own_jobs.submit(tokens=400, rate=40)
    reader = follow(own_stack.webs[0].url, job)
    at = reader.until_entry(30)
    getattr(own_stack.webs[0], signal)()
    own_stack.webs[0].start()
    own_stack.wait_ready()
    reader.until_entry(at + 40, within_s=3 + 5)
    reader.whole(own_jobs.ended(job))


def test_follow_when_the_worker_dies(own_stack: Stack, own_jobs: Jobs, follow: Follow) -> None:
    """Another attempt continues or restarts the answer, and the text that counts is the log's."""
    job = own_jobs.submit(tokens=200, rate=40)
    reader = follow(own_stack.webs[0].url, job)
    reader.until_entry(30)
    own_stack.workers[0].kill()
    own_stack.workers[0].start()
    ended = own_jobs.ended(job)
    assert ended["attempt"] == 2
    reader.whole(ended)


@pytest.mark.parametrize("kill", [False, True], ids=["stop", "kill"])
def test_follow_when_redis_restarts(own_stack: Stack, own_jobs: Jobs, follow: Follow, kill: bool) -> None:
    """With its append-only file Redis comes back, and the answer goes on where it was."""
    job = own_jobs.submit(tokens=300, rate=40)
    reader = follow(own_stack.webs[0].url, job)
    reader.until_entry(30)
    own_stack.redis.restart(kill=kill)
    reader.whole(own_jobs.ended(job))


def test_submit_whose_answer_was_lost(cutter: CuttingProxy, jobs: Jobs) -> None:
    """A submit that failed can be repeated later under the key that its error carries: it makes one job."""
    with Client(cutter.url, timing=replace(FAST, repeat_s=0.5)) as client:
        cutter.refuse()
        with pytest.raises(Unreachable) as caught:
            client.submit("x", model="demo")
        cutter.normal()
        key = caught.value.idempotency_key
        first = client.submit("x", model="demo", idempotency_key=key)
        assert client.submit("x", model="demo", idempotency_key=key)["id"] == first["id"]
        assert jobs.look(first["id"])["id"] == first["id"]


def test_batch_with_progress_while_the_web_restarts(own_stack: Stack) -> None:
    """Results come each once, and progress never goes back, while the only web is killed and started."""
    with Client(own_stack.webs[0].url) as client:
        prompts = [{"prompt": f"{n}", "params": {"tokens": 20, "rate": 10}} for n in range(200)]
        batch = client.batches.submit(prompts)
        seen: list[int] = []
        indexes: list[Any] = []
        for job in client.batches.results(batch, on_progress=lambda found: seen.append(found["counts"]["succeeded"])):
            indexes.append(job["batch_index"])
            if len(indexes) == 20:
                own_stack.webs[0].kill()
                own_stack.webs[0].start()
        assert sorted(indexes) == list(range(200))
        assert seen == sorted(seen)
        assert client.batches.wait(batch)["counts"]["succeeded"] == 200
        assert len(list(client.jobs(batch=batch["id"]))) == 200


def test_the_other_calls(stack: Stack) -> None:
    """Wait, cancel, delete and the lists work against the server, in both clients alike."""
    with Client(stack.webs[0].url) as client:
        job = client.submit("x", model="demo", params={"tokens": 10_000, "rate": 1})
        with pytest.raises(TimeoutError):
            client.wait(job, timeout_s=0.5)
        assert client.cancel(job)["id"] == job["id"]
        assert client.wait(job)["status"] == "cancelled"
        client.delete(job)
        with pytest.raises(SpoolError) as caught:
            client.job(job)
        assert caught.value.status in (404, 410)
        assert client.models()["models"]
        assert client.readiness()["status"] == "ok"
        assert "spool_streams" in client.metrics()
    asyncio.run(_other_calls(stack.webs[0].url))


async def _other_calls(url: str) -> None:
    async with AsyncClient(url) as client:
        job = await client.submit("x", model="demo", params={"tokens": 10_000, "rate": 1})
        with pytest.raises(TimeoutError):
            await client.wait(job, timeout_s=0.5)
        await client.cancel(job)
        assert (await client.wait(job))["status"] == "cancelled"
        assert job["id"] in [found["id"] async for found in client.jobs(limit=50)]
        await client.delete(job)
        batch = await client.batches.submit(["a", "b"])
        assert len([result async for result in client.batches.results(batch)]) == 2
        assert (await client.batches.wait(batch))["ended"]
        follows = [client.follow(await client.submit(f"{n}", params={"tokens": 20})) for n in range(150)]
        await asyncio.gather(*(_drain(one) for one in follows))
        assert all(one.status == "succeeded" for one in follows)


async def _drain(follow: Any) -> None:
    async for _ in follow:
        pass


def _until_state(reader: Any, connection: str, after: int) -> None:
    wait_for(lambda: connection in [state for state, _ in reader.states[after:]], f"the reader is {connection}")
