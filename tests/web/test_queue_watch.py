"""The queue watch: one look for all readers, told when it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
import websocket

from spool.errors import StoreUnavailable
from spool.following.feed import Feed
from spool.jobs.job import Job, Status
from spool.jobs.queue_facts import QueueFacts
from spool.jobs.waits import Place, Reason
from tests.stack import Stack
from tests.web.conftest import ALICE
from web.queue_watch import LOOK_S, PATIENCE_S, QueueWatch

FACTS = QueueFacts(1000.0, waiting=9, running=4, workers=1)


class Queues:
    """A store whose queues are what the test says."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.calls: list[tuple[str, list[str]]] = []
        self.is_away = False
        self.fact_calls = 0

    def look_queue(
        self, model: str, job_ids: Sequence[str], *, facts: QueueFacts | None = None
    ) -> tuple[QueueFacts, dict[str, Place]]:
        """As the store."""
        self.calls.append((model, list(job_ids)))
        self.fact_calls += facts is None
        if self.is_away:
            raise StoreUnavailable("away")
        return FACTS, {job_id: self.places[job_id] for job_id in job_ids if job_id in self.places}


class Woken:
    """A reader that counts."""

    def __init__(self, feed: Feed) -> None:
        self.cursor = 0
        self.feed = feed
        self.times = 0
        feed.readers.add(self)

    def wake(self) -> None:
        """It is told."""
        self.times += 1


class Watching:
    """A watch whose clock and greenlets belong to the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queues = Queues()
        self.feeds: list[Feed] = []
        self.watch = QueueWatch(
            self.queues,
            lambda: self.feeds,
            lambda model: 4 * (model == "full"),
            clock=lambda: self.now,
            spawn=self._run,
        )

    def _run(self, work: Callable[[], None]) -> Any:
        work()

    def feed(self, number: int, *, model: str = "demo", before: int = 0) -> Feed:
        """The feed of a queued job with one reader."""
        feed = Feed(f"j0-{number:026d}", 0, model=model)
        feed.queued_at = 0
        self.feeds.append(feed)
        self.queues.places[feed.job_id] = Place(before)
        return feed

    def begin(self) -> None:
        """The first look at these feeds."""
        self.tick()
        self.tick(PATIENCE_S)

    def tick(self, after_s: float = LOOK_S) -> None:
        """Time passes, then the ticker calls."""
        self.now += after_s
        self.watch.tick(self.now)


def job(number: int, **fields: Any) -> Job:
    """A queued job."""
    return Job(f"j0-{number:026d}", Status.QUEUED, "alice", fields.pop("model", "demo"), 0.0, 60.0, **fields)


def test_one_look_for_all_readers() -> None:
    """A thousand jobs of a model cost ten calls in two seconds, and another model one more."""
    watching = Watching()
    feeds = [watching.feed(number) for number in range(1000)]
    readers = [Woken(feed) for feed in feeds for _ in range(2)]
    other = Woken(watching.feed(5000, model="other"))
    watching.begin()
    assert sorted(model for model, _ids in watching.queues.calls) == ["demo"] * 10 + ["other"]
    assert {reader.times for reader in [*readers, other]} == {1}
    assert watching.queues.fact_calls == 2
    watching.tick(LOOK_S / 4)
    assert len(watching.queues.calls) == 11


def test_told_when_it_changes() -> None:
    """A reader is woken for another position, not for the same one again."""
    watching = Watching()
    reader = Woken(watching.feed(1, before=3))
    watching.begin()
    told = reader.feed.wait
    assert told is not None
    assert (told.position, told.reason) == (3, Reason.TURN)
    watching.tick()
    assert (reader.feed.wait, reader.times) == (told, 1)
    watching.queues.places[reader.feed.job_id] = Place(2)
    watching.tick()
    assert reader.feed.wait is not None
    assert (reader.feed.wait.position, reader.times) == (2, 2)


def test_job_that_has_begun() -> None:
    """A job that is no longer queued is not told anything, and not looked at again once it has an entry."""
    watching = Watching()
    reader = Woken(watching.feed(1))
    del watching.queues.places[reader.feed.job_id]
    watching.begin()
    assert (reader.feed.wait, reader.times, reader.feed.is_queued) == (None, 0, False)


def test_redis_away() -> None:
    """Without an answer nothing is told, and the next tick looks again."""
    watching = Watching()
    reader = Woken(watching.feed(1))
    watching.queues.is_away = True
    watching.begin()
    assert watching.watch.of(job(1)) is None
    watching.queues.is_away = False
    watching.tick()
    assert reader.times == 1


def test_polls_share_a_look() -> None:
    """Polls of one job within two seconds cost one look; a job that runs costs none."""
    watching = Watching()
    watching.queues.places[job(1).id] = Place(5)
    for _ in range(3):
        wait = watching.watch.of(job(1))
        assert wait is not None
        assert wait.position == 5
    assert watching.watch.of(replace(job(1), status=Status.RUNNING)) is None
    assert len(watching.queues.calls) == 1
    watching.now += LOOK_S
    watching.watch.of(job(1))
    assert len(watching.queues.calls) == 2


def test_submits_share_a_look() -> None:
    """Submits use the facts of the last look: a new job is the last one of its flow."""
    watching = Watching()
    watching.queues.places[job(1).id] = Place(5)
    assert watching.watch.of_new(job(1, queue_position=5)) == watching.watch.of(job(1))
    wait = watching.watch.of_new(job(2, queue_position=6))
    assert wait is not None
    assert (wait.position, wait.position_is, len(watching.queues.calls)) == (0, "estimate", 1)


@pytest.mark.parametrize(
    ("model", "reason"), [("full", Reason.MODEL_FULL), ("demo", Reason.TURN)], ids=["full", "room"]
)
def test_limit_of_the_model(model: str, reason: Reason) -> None:
    """The limit of running jobs comes from the model table."""
    watching = Watching()
    watching.queues.places[job(1).id] = Place(0)
    wait = watching.watch.of(job(1, model=model))
    assert wait is not None
    assert wait.reason is reason


def test_job_that_begins_at_once() -> None:
    """A job that begins within a second is not looked at."""
    watching = Watching()
    feed = watching.feed(1)
    watching.tick()
    watching.tick(PATIENCE_S / 2)
    watching.feeds.remove(feed)
    watching.tick(PATIENCE_S)
    assert watching.queues.calls == []


def messages(frames: Iterator[bytes], key: bytes) -> dict[str, Any]:
    """The first JSON object of a stream with ``key`` in it."""
    data = b""
    for frame in frames:
        data += frame
        for line in data.split(b"\n"):
            if key in line and line.endswith(b"}"):
                document: dict[str, Any] = orjson.loads(line[line.index(b"{") :])
                return document
    raise AssertionError(f"no {key!r} in {data!r}")


def test_told_on_every_transport(guarded: Stack, alice: httpx.Client) -> None:
    """A waiting job tells each of its streams why, in the protocol's own form, and without an id."""
    until = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    field = {"not_before": until.isoformat()}
    shown = until.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    expected = {"type": "queued", "position": None, "position_is": None, "estimated_start_at": shown}
    expected |= {"waiting_for": {"reason": "not_before", "until": shown}}
    job = alice.post("/jobs", json={"prompt": "x", **field}).json()
    assert {"type": "queued", "position": None, **{name: job[name] for name in list(expected)[2:]}} == expected
    user = {"role": "user", "content": "x"}
    parts = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}
    requests: dict[str, tuple[str, str, dict[str, Any]]] = {
        "sse": ("GET", f"/jobs/{job['id']}/stream", {"headers": {"Accept": "text/event-stream"}}),
        "ndjson": ("GET", f"/jobs/{job['id']}/stream", {"headers": {"Accept": "application/x-ndjson"}}),
        "chat": ("POST", "/v1/chat/completions", {"json": {"messages": [user], "stream": True, "spool": field}}),
        "responses": ("POST", "/v1/responses", {"json": {"input": "x", "stream": True, "spool": field}}),
        "ai": ("POST", "/ai/chat", {"json": {"id": "q", "messages": [parts], "spool": field}}),
    }
    sockets = [socket_at(guarded, f"/jobs/{job['id']}/ws"), socket_at(guarded, "/ws")]
    sockets[1].send(orjson.dumps({"type": "follow", "job": job["id"]}))
    told = {}
    with ExitStack() as stack:
        streams = {
            name: stack.enter_context(alice.stream(method, path, **options))
            for name, (method, path, options) in requests.items()
        }
        for name, response in streams.items():
            told[name] = messages(response.iter_raw(), b'"waiting_for"')
    assert told["sse"] == told["ndjson"] == told["chat"] == expected
    assert (told["responses"]["type"], told["responses"]["queued"]) == ("response.in_progress", expected)
    assert told["ai"].pop("data") == {name: value for name, value in expected.items() if name != "type"}
    assert told["ai"] == {"type": "data-queue", "transient": True}
    assert [orjson.loads(socket.recv()) for socket in sockets] == [expected, {**expected, "job": job["id"]}]
    for socket in sockets:
        socket.close()


def test_told_by_polls(alice: httpx.Client) -> None:
    """A poll, a long poll and a submit's answer tell it too, and ``Retry-After`` follows the estimate within 30 s."""
    until = datetime.now(UTC) + timedelta(days=1)
    answer = alice.post("/jobs", json={"prompt": "x", "not_before": until.isoformat()})
    path = answer.headers["Location"]
    poll = alice.get(path)
    assert answer.headers["Retry-After"] == poll.headers["Retry-After"] == "30"
    assert poll.json()["waiting_for"]["reason"] == "not_before"
    assert alice.get(path, headers={"If-None-Match": poll.headers["ETag"]}).status_code == 304
    waited = alice.get(f"{path}/entries", params={"wait": 0}).json()
    assert waited["queued"]["waiting_for"] == poll.json()["waiting_for"]
    alice.post(f"{path}/cancel")
    ended = alice.get(path).json()
    assert (ended["waiting_for"], ended["estimated_start_at"]) == (None, None)
    assert alice.get(f"{path}/entries", params={"wait": 0}).json().get("queued") is None


def test_told_that_no_worker_lives(alice: httpx.Client) -> None:
    """Where no worker lives, a job says so and has no estimate."""
    job = alice.post("/jobs", json={"prompt": "x"}).json()
    assert job["waiting_for"] == {"reason": "no_worker"}
    assert job["estimated_start_at"] is None
    assert alice.get(job["urls"]["self"]).json()["position_is"] == "exact"


def socket_at(guarded: Stack, path: str) -> websocket.WebSocket:
    """A WebSocket with alice's key."""
    url = guarded.webs[0].url.replace("http", "ws", 1)
    return websocket.create_connection(f"{url}{path}", timeout=60, header=[f"Authorization: Bearer {ALICE}"])
