"""The doorbell lost: pub/sub carries no promise, so losing it costs a reader at most the time to the next look."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import pytest

from spool.following.follower import RECHECK_S
from tests.faults.attached import attach, figures
from tests.faults.books import check_processes
from tests.faults.crowd import Crowd
from tests.faults.following import Following
from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.faults.repeating import again_and_again
from tests.stack import running_stack

ENTRIES_PER_S = 20
SLACK_S = 3.0
"""For a machine on which much else runs."""


def lags(followings: Iterable[Following]) -> list[float]:
    """How long after it was written each entry came. An entry says when, to the millisecond, on the wall clock."""
    ahead_s = time.time() - time.monotonic()
    return [
        at + ahead_s - datetime.fromisoformat(json.loads(raw)["at"]).timestamp()
        for one in followings
        for raw, at in zip(one.raw, one.times, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("every_s", [0.05, 0.005])
def test_subscriptions_killed_again_and_again(directory: Path, every_s: float) -> None:
    """However often the connection of the doorbell is killed, every reader gets every entry, none later than the look
    that a web takes at a quiet log."""
    with running_stack(directory) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        with again_and_again(stack, lambda link: link.call("CLIENT", "KILL", "TYPE", "pubsub"), every_s) as times:
            ids = [jobs.submit(f"unheard {n}", tokens=10 * ENTRIES_PER_S, rate=ENTRIES_PER_S) for n in range(4)]
            readers = attach(crowd, ids)
            jobs.wait_for_end(within_s=40)
            assert crowd.unfinished(RECHECK_S + 10) == []
        assert jobs.violations(readers) == []
        late = lags(readers)
        assert max(late) < RECHECK_S + SLACK_S
        measured(
            f"CLIENT KILL TYPE pubsub every {every_s:g} s",
            kills=times[0],
            lost=0,
            doubled=0,
            **figures(1, late, "entries"),
        )


@pytest.mark.slow
def test_no_doorbell_at_all(directory: Path) -> None:
    """Webs that may not subscribe to anything still bring every entry, at the latest at their next look."""
    with running_stack(directory) as stack, Crowd([web.url for web in stack.webs]) as crowd:
        jobs = Jobs(stack)
        stack.redis.link.call("ACL", "SETUSER", "deaf", "on", ">deaf", "~*", "+@all", "&*", "-subscribe", "-ssubscribe")
        for web in stack.webs:
            web.stop()
            web.env = {**web.env, "SPOOL_REDIS_URL": f"unix://deaf:deaf@{stack.redis.socket_path}"}
            web.start()
        stack.wait_ready()
        ids = [jobs.submit(f"deaf {n}", tokens=12 * ENTRIES_PER_S, rate=ENTRIES_PER_S) for n in range(2)]
        readers = attach(crowd, ids)
        jobs.wait_for_end(within_s=40)
        assert crowd.unfinished(RECHECK_S + 10) == []
        assert jobs.violations(readers) == []
        late = lags(one for one in readers if one.transport != "short_polling")
        assert max(late) < RECHECK_S + SLACK_S
        assert check_processes(stack) == []
        measured("no pub/sub at all", lost=0, doubled=0, **figures(1, late, "entries"))
