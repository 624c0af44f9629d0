"""Each alert rule on a real Prometheus that scrapes a real Spool: a fault makes it fire, and it stops afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("yaml")

from tests.compose.alert_faults import FAULTS, SLOTS, Live
from tests.compose.prometheus import BINARY, Prometheus, faster_rules
from tests.faults.measured import measured
from tests.faults.upstreams import stack_with
from tests.scripted_upstream import Call, refuses, says
from tests.stack import free_port, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(BINARY is None, reason="Prometheus is not installed (Debian: the package prometheus)"),
]
_WITHIN_S = 90.0


@pytest.fixture(scope="module")
def watched(short_dir: Path) -> Iterator[tuple[Live, Prometheus]]:
    """A Spool that a Prometheus scrapes."""
    directory = short_dir / "alerts"
    directory.mkdir()
    ports = [free_port() for _ in range(2)]
    refusing, refusal = threading.Event(), refuses(503, Retry_After="1")

    def script(call: Call) -> None:
        (refusal if refusing.is_set() else says("yes"))(call)

    options = {"workers": 2, "concurrency": SLOTS, "aof": True}
    options["worker_env"] = {number: {"SPOOL_METRICS_PORT": str(port)} for number, port in enumerate(ports)}
    with stack_with(directory, script, **options) as (stack, _upstream):
        live = Live(stack, refusing)
        webs = [web.url.removeprefix("http://") for web in stack.webs]
        targets = {"spool-web": webs, "spool-worker": [f"127.0.0.1:{port}" for port in ports]}
        prometheus = Prometheus(directory, targets)
        try:
            prometheus.start()
            yield live, prometheus
        finally:
            prometheus.close()


def test_every_rule_has_a_fault() -> None:
    """No rule is left out."""
    assert {rule["alert"] for group in faster_rules(1)["groups"] for rule in group["rules"]} == set(FAULTS)


@pytest.mark.parametrize("alert", FAULTS)
def test_alert_fires_and_stops(watched: tuple[Live, Prometheus], alert: str) -> None:
    """The alert is silent, fires while its fault lasts, and stops after it."""
    live, prometheus = watched
    wait_for(lambda: alert not in prometheus.firing(), f"{alert} is silent", _WITHIN_S)
    began = time.monotonic()
    with FAULTS[alert](live):
        wait_for(lambda: alert in prometheus.firing(), f"{alert} fires", _WITHIN_S)
        fired, with_it = time.monotonic(), prometheus.firing() - {alert}
    wait_for(lambda: alert not in prometheus.firing(), f"{alert} stops", _WITHIN_S)
    measured(
        f"{alert}: {FAULTS[alert].__doc__}",
        fired_s=round(fired - began, 1),
        stopped_s=round(time.monotonic() - fired, 1),
        with_it=sorted(with_it),
    )
