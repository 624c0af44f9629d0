"""The board of ``compose/grafana`` with load behind it: each panel shows something, but those of faults that did not
happen. ``bench.board`` draws it; with ``SPOOL_BOARD=file.svg`` the picture is kept."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

pytest.importorskip("yaml")

from bench.board import draw
from tests.compose.prometheus import BINARY, Prometheus
from tests.faults.crowd import Crowd
from tests.faults.jobs import Jobs, let_pass
from tests.faults.upstreams import MODEL, stack_with
from tests.scripted_upstream import Call, refuses, says
from tests.stack import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(BINARY is None, reason="Prometheus is not installed (Debian: the package prometheus)"),
]
_LOAD_S = 75
_SLOTS = 10
DEMO = {"model": "demo"}


def test_every_panel_shows_its_load(tmp_path: Path) -> None:
    """Jobs of several kinds run, wait, fail, are cancelled and lose a worker while Prometheus scrapes."""
    ports = [free_port() for _ in range(2)]
    refusing, refusal = threading.Event(), refuses(503)

    def script(call: Call) -> None:
        (refusal if refusing.is_set() else says("yes"))(call)

    worker_env = {number: {"SPOOL_METRICS_PORT": str(port)} for number, port in enumerate(ports)}
    options = {"workers": 2, "concurrency": _SLOTS, "worker_env": worker_env}
    with (
        stack_with(tmp_path, script, **options) as (stack, _),
        Crowd([web.url for web in stack.webs]) as crowd,
    ):
        webs = [web.url.removeprefix("http://") for web in stack.webs]
        targets = {"spool-web": webs, "spool-worker": [f"127.0.0.1:{port}" for port in ports]}
        prometheus = Prometheus(tmp_path, targets)
        try:
            prometheus.start()
            jobs = Jobs(stack)
            for second in range(_LOAD_S):
                job = jobs.submit(f"long {second}", tokens=100, rate=15, fields=DEMO)
                for transport in ("sse", "ndjson", "websocket", "long_polling"):
                    crowd.follow(job, transport)
                for number in range(3):
                    fields = MODEL if number else DEMO
                    jobs.submit(f"short {second} {number}", tokens=20, rate=40, fields=fields)
                if second % 5 == 0:
                    jobs.cancel(job)
                if second == _LOAD_S // 3:
                    refusing.set()
                if second == _LOAD_S // 2:
                    refusing.clear()
                if second == _LOAD_S * 2 // 3:
                    stack.workers[0].kill()
                    stack.workers[0].start()
                let_pass(1)
            picture = Path(os.environ.get("SPOOL_BOARD", tmp_path / "board.svg"))
            empty = draw(prometheus.url, picture, minutes=(_LOAD_S + 5) / 60)
        finally:
            prometheus.close()
    assert empty == []
