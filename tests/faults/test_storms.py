"""What goes on for long fills no log: a permission that is missing, and a Redis that is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.jobs import Jobs
from tests.faults.measured import measured
from tests.stack import Stack, running_stack, wait_for

LASTS_S = 20
MOST_LINES = 30
"""Of one process, however long it lasts: its loops begin and end each with a line, and so does each running job."""


def without(command: str) -> Callable[[Stack, bool], None]:
    """Redis's user lacks a command."""

    def switch(stack: Stack, lasts: bool) -> None:
        stack.redis.link.call("ACL", "SETUSER", "default", f"{'-' if lasts else '+'}{command}")

    return switch


def away(stack: Stack, lasts: bool) -> None:
    """Redis is killed, and started again."""
    stack.redis.kill() if lasts else stack.redis.restart()


@pytest.mark.slow
@pytest.mark.parametrize(
    "switch", [without("info"), without("set"), without("evalsha"), away], ids=["INFO", "SET", "EVALSHA", "away"]
)
def test_log_while_it_lasts(directory: Path, switch: Callable[[Stack, bool], None]) -> None:
    """Each process logs a bounded number of lines, and jobs go on when it is over."""
    with running_stack(directory, webs=1, workers=1, concurrency=5, aof=True) as stack:
        jobs = Jobs(stack)
        ids = [jobs.submit(f"goes on {n}", tokens=400, rate=50) for n in range(3)]
        jobs.wait_for_entries(ids, 5)
        programs = [*stack.webs, *stack.workers]
        before = {one.name: len(one.output.read_text().splitlines()) for one in programs}
        switch(stack, True)
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > LASTS_S, "it lasts")
        lines = {one.name: len(one.output.read_text().splitlines()) - before[one.name] for one in programs}
        switch(stack, False)
        jobs.wait_for_end(within_s=120)
        measured("log lines while it lasts", lasts_s=LASTS_S, **lines)
        assert max(lines.values()) <= MOST_LINES, lines
