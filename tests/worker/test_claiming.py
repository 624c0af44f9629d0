"""Asking for jobs: how often, and under which fence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from spool.errors import StoreUnavailable, UndecodableRecord
from spool.jobs.claims import Claim, Wanted
from spool.jobs.shards import Shard, Shards
from spool.models.model import DEMO, Model
from spool.redis.link import RedisLink
from tests.clock import Clock
from worker.claiming import Claimer
from worker.watchdog import Watchdog


class Queue:
    """A queue that answers what it was told to, and notes under which fences it was asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.fences: list[str] = []

    def in_turn(self) -> Sequence[Shard]:
        """One shard."""
        return tuple(Shards.on(RedisLink("unix:///nowhere")))

    def claim(self, shard: Shard, models: Sequence[Model], fence: str, wanted: Wanted = "any") -> Claim | None:  # noqa: ARG002
        """The next answer, and nothing after the last."""
        self.fences.append(fence)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]


class SlowQueue(Queue):
    """One whose answers take a round of the hub, so that others can ask meanwhile."""

    def __init__(self, *answers: object, on_answer: Callable[[], None] = lambda: None) -> None:
        super().__init__(*answers)
        self._on_answer = on_answer
        self._asking = 0
        self.most_at_once = 0

    def claim(self, shard: Shard, models: Sequence[Model], fence: str, wanted: Wanted = "any") -> Claim | None:
        self._asking += 1
        self.most_at_once = max(self.most_at_once, self._asking)
        gevent.sleep(0)
        self._asking -= 1
        self._on_answer()
        return super().claim(shard, models, fence, wanted)


def taking(queue: Queue, lease_s: float = 10.0, clock: Clock | None = None, draining: Event | None = None) -> Claimer:
    """One that asks it, created a second ago. Its clock stands still, so that a slow machine changes nothing."""
    clock = clock or Clock()
    one = Claimer(
        queue,
        lambda: [DEMO],
        Watchdog(),
        draining or Event(),
        lease_s=lease_s,
        sleep=lambda _seconds: None,
        clock=clock,
    )
    clock.now += 1
    return one


def test_nothing_is_remembered_for_a_moment() -> None:
    """A claim right after an empty one is skipped, until a bell rings, a slot's limit frees or the moment passes."""
    clock = Clock()
    one = taking(Queue(), clock=clock)
    assert not one.has_just_looked

    def let_the_moment_pass() -> None:
        clock.now += 1 / 128

    for forget in (one.rung, one.make_room, let_the_moment_pass):
        clock.now += 1
        assert one.take("any") is None
        clock.now += 1 / 512
        assert one.has_just_looked
        forget()
        assert not one.has_just_looked


def test_job_that_was_there_is_no_reason_to_stop() -> None:
    """After a job there may be another one."""
    one = taking(Queue(None, "a job"))
    assert one.take("any") is None
    assert one.take("any") == "a job"
    assert not one.has_just_looked


def test_many_slots_that_become_free_at_once() -> None:
    """A few of them ask; where these find nothing, the others do not ask either, and where there are jobs all do."""
    for jobs in (0, 30):
        queue = SlowQueue(*[f"job {number}" for number in range(jobs)])
        one = taking(queue)
        slots = [gevent.spawn(one.take, "any") for _ in range(30)]
        gevent.joinall(slots, raise_error=True)
        assert queue.most_at_once == 8
        assert len(queue.fences) == (30 if jobs else 8)
        assert [slot.value for slot in slots].count(None) == 30 - jobs


def test_bell_that_rings_while_others_ask() -> None:
    """Who waited for a turn asks all the same, if there may be something new."""
    queue = SlowQueue(on_answer=lambda: one.rung())
    one = taking(queue)
    gevent.joinall([gevent.spawn(one.take, "any") for _ in range(30)], raise_error=True)
    assert len(queue.fences) == 30


def test_no_retries_says_nothing_of_others() -> None:
    """A claim that asked for some jobs only does not tell whether there are any."""
    one = taking(Queue())
    assert one.take("retries") is None
    assert not one.has_just_looked


def test_lost_answer_is_asked_for_under_the_same_fence() -> None:
    """Whether or not Redis took the claim, the job is not lost; each claim has a fence of its own."""
    queue = Queue(StoreUnavailable("away"), StoreUnavailable("away"), "a job", "another")
    one = taking(queue)
    assert [one.take("any"), one.take("any")] == ["a job", "another"]
    assert len(queue.fences) == 4
    assert len(set(queue.fences[:3])) == 1
    assert len(set(queue.fences)) == 2


def test_given_up_after_a_lease() -> None:
    """By then somebody else may have what it asked for."""
    assert taking(Queue(StoreUnavailable("away"), "too late"), lease_s=0.0).take("any") is None


def test_broken_record() -> None:
    """After a job that cannot be read the next one is claimed at once, under another fence."""
    queue = Queue(UndecodableRecord("job", b"?"), "a job")
    assert taking(queue).take("any") == "a job"
    assert len(set(queue.fences)) == 2


def test_stopped_while_an_answer_is_on_its_way() -> None:
    """A job that comes then is still an answer; the claims that wait for their turn do not begin."""
    queue, draining = SlowQueue(*[f"job {number}" for number in range(30)]), Event()
    one = taking(queue, draining=draining)
    slots = [gevent.spawn(one.take, "any") for _ in range(30)]
    gevent.sleep(0)
    draining.set()
    gevent.joinall(slots, raise_error=True)
    assert [slot.value for slot in slots] == [*[f"job {number}" for number in range(8)], *[None] * 22]
    assert len(queue.fences) == 8


def test_stopped() -> None:
    """A process that goes away asks for nothing."""
    queue, draining = Queue("a job"), Event()
    draining.set()
    one = taking(queue, draining=draining)
    assert one.take("any") is None
    assert queue.fences == []


class TwoShards(Queue):
    """A queue on each of two shards: the answers of both, and the shards and fences that were asked."""

    def __init__(self, *answers: Sequence[object]) -> None:
        super().__init__()
        self.shards = Shards.on(RedisLink("unix:///nowhere"), 2, first=0)
        self.answers_of = [list(part) for part in answers]
        self.asked: list[tuple[int, str]] = []

    def in_turn(self) -> Sequence[Shard]:
        return self.shards.in_turn()

    def claim(self, shard: Shard, models: Sequence[Model], fence: str, wanted: Wanted = "any") -> Claim | None:
        self.asked.append((shard.number, fence))
        self.answers = self.answers_of[shard.number]
        return super().claim(shard, models, fence, wanted)


def test_shards_are_claimed_from_in_turn() -> None:
    """No shard has to wait until another one is empty."""
    queue = TwoShards(["a", "b", "c"], ["d", "e", "f"])
    one = taking(queue)
    assert [one.take("any") for _ in range(6)] == ["a", "d", "b", "e", "c", "f"]
    assert len(queue.asked) == 6


def test_job_on_the_other_shard() -> None:
    """An empty shard is passed over; only when all are empty is the next claim skipped."""
    queue = TwoShards([], ["d"])
    one = taking(queue)
    assert one.take("any") == "d"
    assert not one.has_just_looked
    assert one.take("any") is None
    assert one.has_just_looked
    assert [number for number, _fence in queue.asked] == [0, 1, 1, 0]
    assert len({fence for _number, fence in queue.asked}) == 4


def test_lost_answer_is_asked_for_on_its_shard() -> None:
    """A claim whose answer was lost is repeated under its fence on the same shard, although another has jobs."""
    queue = TwoShards([StoreUnavailable("away"), "a"], ["d"])
    assert taking(queue).take("any") == "a"
    assert [number for number, _fence in queue.asked] == [0, 0]
    assert len({fence for _number, fence in queue.asked}) == 1
