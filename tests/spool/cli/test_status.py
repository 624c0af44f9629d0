"""``spool status`` and ``spool top``."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

from spool.cli.one_line_errors import printable
from spool.cli.status import _instance_lines, status, top
from spool.redis.link import RedisLink
from spool.status.instances import Instance, Presence
from spool.switches.store import SwitchStore
from spool.switches.switch import checked
from tests.by_hand import HandWorker, submit
from tests.stack import Redis


def test_status(redis: Redis, link: RedisLink) -> None:
    """The exit code says whether jobs are accepted and run; the lines have queues, owners, Redis, switches and the
    names of instances."""
    runner, env = CliRunner(), {"SPOOL_REDIS_URL": redis.url}
    submit(link)
    store = SwitchStore(link)
    store.turn_on(checked("pause", "all", reason="moved"), by="cli")
    stopped = runner.invoke(status, env=env)
    assert (stopped.exit_code, stopped.stdout.splitlines()[0]) == (1, "serving   NO: no_live_worker, pause all")
    HandWorker(link).beat(free=3)
    paused = runner.invoke(status, env=env)
    assert (paused.exit_code, paused.stdout.splitlines()[0]) == (1, "serving   NO: pause all")
    store.turn_off(checked("pause", "all"))
    store.turn_on(checked("pause", "model:other", reason="moved"), by="cli")
    Presence(link, Instance.of_this_process("h/web:1", "web"), streams=lambda: 2, is_drained=lambda: True).publish()
    serving = runner.invoke(status, env=env)
    assert serving.exit_code == 0
    for said in (
        "queue     demo: 1 wait (oldest interactive",
        "owner     alice: 1 wait",
        "noeviction",
    ):
        assert said in serving.stdout, said
    assert re.search(r"^switch    pause model:other, for \d+ s, by cli: moved$", serving.stdout, re.MULTILINE)
    line = r"^instance  h/web:1: 1 processes, the youngest for \d+ s, 2 streams, drained$"
    assert re.search(line, serving.stdout, re.MULTILINE)
    assert json.loads(runner.invoke(status, ["--json"], env=env).stdout)["is_serving"] is True
    looks = runner.invoke(top, ["--every", "0.2", "--times", "2"], env=env)
    assert looks.stdout.count("serving   yes") == 2


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_length_of_time(seconds: float, shown: str) -> None:
    """It has the largest unit of which there are two."""
    at = int(1e9)
    instance = replace(Instance.of_this_process("h/web:1", "web"), started_ms=at * 1000)
    (line,) = _instance_lines([instance], at + seconds)
    assert f"the youngest for {shown}," in line


def test_control_characters() -> None:
    """What an upstream wrote does not rewrite the operator's terminal."""
    assert printable("closed    demo: \x1b[2Jall is well\r\u202e 漢字") == "closed    demo: �[2Jall is well�� 漢字"


def test_status_without_redis() -> None:
    """It is one line on stderr."""
    done = CliRunner().invoke(status, env={"SPOOL_REDIS_URL": "redis://127.0.0.1:1"})
    assert (done.exit_code, done.stderr.startswith("spool: "), done.stderr.count("\n")) == (1, True, 1)
