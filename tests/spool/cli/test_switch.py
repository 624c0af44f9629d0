"""``spool switch``, against a real Redis."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from spool.cli.switch import switch
from spool.redis.link import RedisLink
from spool.switches.store import SwitchStore
from tests.stack import Redis


def run(redis: Redis, *arguments: str) -> Result:
    """Run a command on this Redis."""
    return CliRunner().invoke(switch, arguments, env={"SPOOL_REDIS_URL": redis.url})


def test_switch_is_turned_on_listed_and_taken_back(redis: Redis, link: RedisLink) -> None:
    """It is in Redis with its reason until it is taken back."""
    turned = run(redis, "on", "pause", "model:demo", "--reason", "moved")
    assert turned.exit_code == 0, turned.output
    run(redis, "on", "max-streams", "--value", "3")
    assert [(one.name, one.reason, one.value) for one in SwitchStore(link).all()] == [
        ("max-streams all", "", 3),
        ("pause model:demo", "moved", None),
    ]
    documents = [json.loads(line) for line in run(redis, "list", "--json").stdout.splitlines()]
    assert [document["kind"] for document in documents] == ["max-streams", "pause"]
    assert "pause model:demo" in run(redis, "list").stdout
    for arguments in (["pause", "model:demo"], ["max-streams"]):
        assert run(redis, "off", *arguments).exit_code == 0
    assert not SwitchStore(link).all()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["on", "pause", "owner:a"], 2, "all or model:NAME"),
        (["on", "stop", "all"], 2, "stop-submits"),
        (["on", "max-streams"], 2, "from 0 to"),
        (["off", "pause", "all"], 1, "is not on"),
    ],
    ids=["target", "kind", "value", "off"],
)
def test_wrong_argument(redis: Redis, link: RedisLink, arguments: list[str], code: int, said: str) -> None:
    """It is said in one line, with the exit code."""
    assert not link.call("DBSIZE")
    done = run(redis, *arguments)
    assert (done.exit_code, said in done.output) == (code, True), done.output
