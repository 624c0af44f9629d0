"""``spool status`` and ``spool top``."""

from __future__ import annotations

import json

from click.testing import CliRunner

from spool.cli.one_line_errors import printable
from spool.cli.status import status, top
from spool.redis.link import RedisLink
from spool.switches.store import SwitchStore
from spool.switches.switch import checked
from tests.by_hand import HandWorker, submit
from tests.stack import Redis


def test_status(redis: Redis, link: RedisLink) -> None:
    """The exit code says whether jobs are accepted and run; the lines have queues, owners, Redis and switches."""
    runner, env = CliRunner(), {"SPOOL_REDIS_URL": redis.url}
    submit(link)
    SwitchStore(link).turn_on(checked("pause", "all", reason="moved"), by="cli")
    stopped = runner.invoke(status, env=env)
    assert (stopped.exit_code, stopped.stdout.splitlines()[0]) == (1, "serving   NO")
    HandWorker(link).beat(free=3)
    serving = runner.invoke(status, env=env)
    assert serving.exit_code == 0
    for said in (
        "queue     demo: 1 wait (oldest interactive",
        "owner     alice: 1 wait",
        "pause all: moved",
        "noeviction",
    ):
        assert said in serving.stdout, said
    assert json.loads(runner.invoke(status, ["--json"], env=env).stdout)["is_serving"] is True
    looks = runner.invoke(top, ["--every", "0.2", "--times", "2"], env=env)
    assert looks.stdout.count("serving   yes") == 2


def test_control_characters() -> None:
    """What an upstream wrote does not rewrite the operator's terminal."""
    assert printable("closed    demo: \x1b[2Jall is well\r\u202e 漢字") == "closed    demo: �[2Jall is well�� 漢字"


def test_status_without_redis() -> None:
    """It is one line on stderr."""
    done = CliRunner().invoke(status, env={"SPOOL_REDIS_URL": "redis://127.0.0.1:1"})
    assert (done.exit_code, done.stderr.startswith("spool: "), done.stderr.count("\n")) == (1, True, 1)
