"""``spool keys``, against a real Redis."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from spool.access.key_store import KeyStore
from spool.access.keys import parse_shown
from spool.access.signing_keys import SigningKeys
from spool.cli.keys import keys
from spool.redis.link import RedisLink
from tests.stack import Redis


@pytest.fixture
def run(redis: Redis, link: RedisLink) -> object:
    """Runs a command on this Redis, which is empty."""
    assert not link.call("DBSIZE")

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(keys, arguments, env={"SPOOL_REDIS_URL": redis.url, "SPOOL_REQUIRE_KEY": "1"})

    return invoke


def test_life_of_a_key(run: object, link: RedisLink) -> None:
    """A key is printed once, listed without its secret, limited and revoked."""
    assert callable(run)
    created = run("create", "--owner", "alice", "--name", "laptop", "--expires", "90d", "--limit", "streams=3")
    assert created.exit_code == 0, created.output
    shown = created.stdout.strip()
    parts = parse_shown(shown.encode())
    assert parts is not None
    listed = run("list", "--json").stdout
    assert json.loads(listed)["limits"] == {"streams": 3}
    assert parts.secret.decode() not in listed + run("show", parts.id).stdout
    assert "requests_per_minute=60" in run("limit", parts.id, "requests_per_minute=60").stdout
    assert "revoked" in run("revoke", parts.id).stdout
    assert KeyStore(link).get(parts.id).revoked_ms


def test_rotation_of_the_signing_key(run: object, link: RedisLink) -> None:
    """The key before stays for what it signed, unless ``--now`` says otherwise."""
    assert callable(run)
    (first,) = SigningKeys(link).load()
    assert run("rotate-signing").exit_code == 0
    assert SigningKeys(link).load()[1:] == (first,)
    assert run("rotate-signing", "--now").exit_code == 0
    assert len(SigningKeys(link).load()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "--owner", "a:b"], "letters, digits"),
        (["create", "--owner", "a", "--scopes", "root"], "no scope 'root'"),
        (["create", "--owner", "a", "--expires", "90"], "such as 90d"),
        (["create", "--owner", "a", "--limit", "steams=1"], "no limit 'steams'"),
        (["revoke", "aaaaaaaaaaaa"], "no key 'aaaaaaaaaaaa'"),
    ],
    ids=["owner", "scope", "life", "limit", "unknown"],
)
def test_wrong_arguments(run: object, link: RedisLink, arguments: list[str], said: str) -> None:
    """The message says what is wrong, and nothing is written."""
    assert callable(run)
    done = run(*arguments)
    assert done.exit_code in (1, 2)
    assert said in done.output
    assert not link.call("DBSIZE")
