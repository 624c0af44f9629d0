"""The alert rules and the board: every metric exists; promtool makes each alert fire by a fault and stop after it."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

yaml = pytest.importorskip("yaml")

COMPOSE = Path(__file__).parents[2] / "compose"
RULES = COMPOSE / "prometheus" / "spool.rules.yml"
BOARD = COMPOSE / "grafana" / "boards" / "spool.json"
PROMTOOL = shutil.which("promtool")
MODULES = ("spool.metrics", "web.metrics", "web.queue_gauges", "web.condition_gauge", "worker.metrics")

LATE = ("0+9x9 81+0x20 81+9x60", "0+9x9 90+9x20 270+9x60")
"""A histogram's counts for a low and a high bound, while for 20 minutes every value is between them."""
FAULTS: dict[str, dict[str, str]] = {
    "SpoolUsersWait": {
        'spool_queue_oldest_seconds{model="m",priority="interactive",instance="a"}': "0+0x9 60+0x20 0+0x30",
    },
    "SpoolBatchesWait": {
        'spool_queue_oldest_seconds{model="m",priority="batch",instance="a"}': "0+0x9 30000+0x20 0+0x30",
    },
    "SpoolFirstTokenLate": {
        'spool_first_token_seconds_bucket{model="m",le="1"}': LATE[0],
        'spool_first_token_seconds_bucket{model="m",le="30"}': LATE[1],
        'spool_first_token_seconds_bucket{model="m",le="+Inf"}': LATE[1],
    },
    "SpoolTokensLate": {
        'spool_delivery_delay_seconds_bucket{le="0.1"}': LATE[0],
        'spool_delivery_delay_seconds_bucket{le="5"}': LATE[1],
        'spool_delivery_delay_seconds_bucket{le="+Inf"}': LATE[1],
    },
    "SpoolServerErrors": {
        'spool_http_requests_total{surface="jobs",status="202"}': "0+9x60",
        'spool_http_requests_total{surface="jobs",status="503"}': "0+0x9 0+9x20 180+0x30",
    },
    "SpoolStreamsBreak": {
        'spool_streams_ended_total{reason="complete"}': "0+9x60",
        'spool_streams_ended_total{reason="broken"}': "0+0x9 0+90x20 1800+0x30",
    },
    "SpoolJobsFail": {
        'spool_jobs_ended_total{model="m",status="succeeded"}': "0+9x60",
        'spool_jobs_ended_total{model="m",status="failed"}': "0+0x9 0+9x20 180+0x30",
    },
    "SpoolWorkersDie": {
        'spool_jobs_lost_leases_total{model="m"}': "0+0x19 3+0x40",
    },
    "SpoolJobsSetAside": {
        "spool_jobs_set_aside": "0+0x9 1+0x20 0+0x30",
    },
    "SpoolMayLoseJobs": {
        'spool_condition{name="persistence_off"}': "0+0x9 1+0x20 0+0x30",
    },
    "SpoolDown": {
        'up{job="spool-web",instance="a"}': "1+0x9 0+0x20 1+0x30",
    },
    "SpoolRefuses": {
        'spool_condition{name="redis_away"}': "0+0x9 1+0x20 0+0x30",
    },
    "SpoolNoWorker": {
        'spool_condition{name="no_live_worker"}': "0+0x9 1+0x20 0+0x30",
    },
    "SpoolSlotsFull": {
        'spool_worker_slots{state="free"}': "5+0x9 0+0x20 5+0x30",
        'spool_queue_jobs{model="m",state="queued"}': "3+0x60",
    },
    "SpoolModelClosed": {
        'spool_model_closed{model="m"}': "0+0x9 1+0x50",
        'spool_queue_jobs{model="m",state="queued"}': "3+0x29 0+0x30",
    },
    "SpoolMemory": {
        'spool_redis_memory_bytes{what="used"}': "50+0x9 85+0x20 50+0x30",
        'spool_redis_memory_bytes{what="max"}': "100+0x60",
    },
    "SpoolLoopLags": {
        'spool_loop_lag_seconds_bucket{program="web",le="0.01"}': LATE[0],
        'spool_loop_lag_seconds_bucket{program="web",le="1"}': LATE[1],
        'spool_loop_lag_seconds_bucket{program="web",le="+Inf"}': LATE[1],
    },
}
"""What each alert sees: ten minutes of health, twenty minutes of the fault, and health again. A value a minute."""


def rules() -> Iterator[dict[str, str]]:
    """All alert rules."""
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        yield from group["rules"]


def existing() -> set[str]:
    """The names of all samples that Spool has."""
    for module in MODULES:
        importlib.import_module(module)
    names = {"up", "spool_jobs_set_aside"}
    for metric in REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(metric.type, [""])
        names |= {metric.name + suffix for suffix in suffixes}
    return names


def used(expression: str) -> set[str]:
    """The metrics that an expression names."""
    return set(re.findall(r"\b(?:spool_\w+|up)\b", re.sub(r'"[^"]*"', "", expression)))


def test_metrics_of_rules_and_board_exist() -> None:
    """No rule and no panel asks for a metric that Spool does not have."""
    panels = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    asked = [rule["expr"] for rule in rules()]
    asked += [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(asked) > 40
    assert {name for expression in asked for name in used(expression)} <= existing()


def test_board_answers_three_questions() -> None:
    """The board has a row for each question, and no two panels overlap."""
    panels = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    titles = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert titles == ["Are users waiting?", "Is anything lost?", "What saturates first?"]
    places = [panel["gridPos"] for panel in panels]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_rule_has_a_fault() -> None:
    """Every rule is made to fire below."""
    assert {rule["alert"] for rule in rules()} == set(FAULTS)


@pytest.mark.slow  # `make faults`
@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: the package prometheus)")
def test_alerts_fire_and_stop(tmp_path: Path) -> None:
    """Each alert is silent in health, fires during its fault, and stops after it."""
    at, firing = ("9m", "29m", "59m"), (False, True, False)
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)',
                    "eval_time": time,
                    "exp_samples": [{"labels": "{}", "value": int(fires)}],
                }
                for time, fires in zip(at, firing, strict=True)
            ],
        }
        for alert, series in FAULTS.items()
    ]
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}))
    done = subprocess.run([PROMTOOL, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: the package prometheus)")
def test_configuration_is_valid() -> None:
    """promtool accepts the configuration with its rules."""
    subprocess.run([PROMTOOL, "check", "config", str(COMPOSE / "prometheus" / "prometheus.yml")], check=True)
