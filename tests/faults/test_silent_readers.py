"""200 readers that take nothing: bounded bytes for each and in all, whatever they asked for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.bystander import Bystander
from tests.faults.jobs import let_pass
from tests.faults.silent_readers import ROUTES, ask
from tests.faults.vitals import broke, open_connections
from tests.stack import running_stack, wait_for

READERS = 200
STALL_S = 8
UNSENT_MB = 64
BESIDE_MB = 130
"""What a web may need beside the bytes that wait: for making answers, 300 KB a connection, and a page of a batch's log,
whose lines are as large as answers."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("route", ROUTES)
def test_readers_that_take_nothing(directory: Path, route: str) -> None:
    """200 readers ask for an answer of megabytes and take nothing: the web holds a bounded amount, and all are closed
    after the stall limit."""
    with running_stack(directory, webs=1, workers=1, STALL_S=STALL_S) as stack:
        worker, web = stack.workers[0], stack.webs[0]
        # It would run the jobs that are prepared by hand.
        worker.stop()
        request = ROUTES[route](stack)
        worker.start()
        stack.wait_ready()
        with Bystander(stack) as bystander:
            bystander.calm(3)
            before = open_connections(web)
            with bystander.attack():
                socks = [ask(web.port, request) for _ in range(READERS)]
                let_pass(2)
                began = time.monotonic()
                wait_for(lambda: open_connections(web) <= before, "all are closed", 10 * STALL_S)
            closed_s = round(time.monotonic() - began, 1)
            for sock in socks:
                sock.close()
            each_mb = round(bystander.grew_mb("web") / READERS, 2)
            bystander.report(route, readers=READERS, each_mb=each_mb, closed_s=closed_s)
            assert broke(web) == []
            assert bystander.grew_mb("web") < UNSENT_MB + BESIDE_MB
