"""Redis says nothing, and no connection breaks: it is stopped, or its network swallows everything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.asking import PUBLIC, Answer, ask, not_refused, reads, slower_than, submit, writes
from tests.faults.attached import attach, figures, resumed
from tests.faults.books import check_books
from tests.faults.checker import Accepted
from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.stack import Stack, running_stack, wait_for

CALL_S = 5
"""No call of Redis takes longer."""
BOUND_S = 2 * CALL_S + 2
"""A route may make one more call after the one that failed (a batch takes back what it wrote)."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def stop(stack: Stack) -> Callable[[], None]:
    """SIGSTOP; what it got meanwhile it does later."""
    stack.redis.pause()
    return stack.redis.resume


def swallow(stack: Stack) -> Callable[[], None]:
    """Nothing gets through and nothing is reset; what was sent meanwhile arrives in the end."""
    assert stack.redis_proxy is not None
    stack.redis_proxy.black_hole()
    return stack.redis_proxy.normal


def swallow_and_cut(stack: Stack) -> Callable[[], None]:
    """The same, and what was sent meanwhile never arrives."""
    proxy = stack.redis_proxy
    assert proxy is not None
    proxy.black_hole()

    def mend() -> None:
        proxy.cut()
        proxy.normal()

    return mend


@pytest.mark.parametrize("fault", [stop, swallow, swallow_and_cut])
def test_hangs(directory: Path, fault: Callable[[Stack], Callable[[], None]]) -> None:
    """Every route answers in bounded time, /readyz is red, /livez green and fast, streams stay open; when Redis is
    back everything goes on, and a submit whose outcome was unknown is one job or none."""
    with (
        running_stack(directory, proxy_redis=True, LEASE_S=10) as stack,
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        jobs, web = Jobs(stack), stack.webs[0]
        ids = [jobs.submit(f"hang {n}", tokens=300, rate=10) for n in range(2)]
        readers = attach(crowd, ids)
        jobs.wait_for_entries(ids, 10)
        mend = fault(stack)
        began = time.monotonic()
        refused = ask(web, [*reads(ids[0]), *writes(ids[0])], times=3)
        answered_s = time.monotonic() - began
        red = ask(web, [("GET", "/readyz")])
        green = [one for _ in range(20) for one in ask(web, [("GET", "/livez")])]
        public = ask(web, [("GET", path) for path in PUBLIC])
        mend()
        back = time.monotonic()
        wait_for(lambda: all(one.is_ready() for one in stack.webs), "both webs are ready", 10)
        ready_s = time.monotonic() - back
        assert not_refused(refused + red) == []
        # The API's description takes seconds of CPU once, and its request yields all the time.
        late = [*slower_than(refused, BOUND_S), *slower_than(red, CALL_S + 2), *slower_than(green, CALL_S - 1)]
        late += slower_than(public, 20)
        assert late == []
        assert {one.status for one in green + public} == {200}
        assert {one.turns[-1] for one in readers if one.turns} <= {"poll", "status 503"}
        for one in refused:
            if one.key:
                jobs.accepted.append(found_out(stack, one))
        jobs.wait_for_end(within_s=90)
        assert crowd.unfinished(20) == []
        # The cancel that was asked for meanwhile may have been heard.
        assert set(jobs.fields(ids, "attempt")) == {"1"}
        assert jobs.violations(crowd.followings) == []
        assert check_books(stack) == []
        measured(
            f"Redis hangs: {fault.__name__.replace('_', ' ')}",
            slowest_route_s=round(answered_s, 1),
            readyz_red_s=round(red[0].took_s, 1),
            livez_max_s=round(max(one.took_s for one in green), 3),
            ready_again_s=round(ready_s, 2),
            lost=0,
            doubled=0,
            **figures(1, resumed(readers, back)),
        )


def found_out(stack: Stack, asked: Answer) -> Accepted:
    """The job of a submit that got 503: the same submit again tells. It is the one that the answer named, or new."""
    named = json.loads(asked.body).get("job")
    again = submit(stack.webs[1], asked.key)
    job = json.loads(again.body)
    assert again.status in (200, 202), again.body
    if again.status == 200:
        assert job["id"] == named, "it was accepted, and the answer did not say that it may have been"
    return Accepted(job["id"], "asked while Redis was away", {"tokens": 5, "rate": 0})
