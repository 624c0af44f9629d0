"""``spool doctor``: what it says about a deployment that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spool.cli.doctor import doctor
from spool.redis.link import RedisLink
from tests.stack import Redis


def run(*arguments: str, **settings: str) -> Result:
    """Run it with these settings."""
    return CliRunner().invoke(doctor, arguments, env={f"SPOOL_{name}": value for name, value in settings.items()})


def levels(done: Result) -> dict[str, str]:
    """The level of each check."""
    return {one["check"]: one["level"] for one in json.loads(done.stdout)["findings"]}


@pytest.mark.parametrize(
    ("settings", "code", "check"),
    [
        ({"REDIS_URL": "http://127.0.0.1"}, 2, "settings"),
        ({"MAX_STREEMS": "5"}, 2, "settings"),
        ({"HOST": "0.0.0.0"}, 2, "settings"),
        ({"REDIS_URL": "redis://127.0.0.1:1"}, 1, "redis_away"),
    ],
    ids=["scheme", "misspelt", "exposed", "away"],
)
def test_wrong_setting(settings: dict[str, str], code: int, check: str) -> None:
    """It is found, and the exit code tells settings from what they lead to."""
    done = run("--json", **settings)
    assert (done.exit_code, levels(done)[check]) == (code, "error"), done.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[upstream]]\nname = "gpu"\nurl = "http://127.0.0.1:1/v1"\napi_key_env = "NO_SUCH_KEY"\n', "NO_SUCH_KEY"),
        ("[[upstream]]\n", "name"),
        ("not TOML", "SPOOL_MODELS_FILE"),
    ],
    ids=["no variable", "no name", "no table"],
)
def test_wrong_models_file(tmp_path: Path, text: str, said: str) -> None:
    """It is a wrong setting, named with what is wrong in it."""
    file = tmp_path / "models.toml"
    file.write_text(text)
    done = run("--json", MODELS_FILE=str(file))
    [found] = json.loads(done.stdout)["findings"]
    assert (done.exit_code, found["check"], said in found["message"]) == (2, "settings", True), done.output


def test_no_redis_at_all(tmp_path: Path) -> None:
    """Without a URL and without a running embedded server it says which of the two to provide."""
    done = run("--quiet", DATA_DIR=str(tmp_path), PORT="0")
    assert (done.exit_code, "start `spool run`" in done.stdout) == (1, True)
    assert "ok  " not in done.stdout


def test_deployment_without_a_worker(redis: Redis, link: RedisLink) -> None:
    """It is an error with the remedy; warnings alone fail only ``--strict``."""
    assert not link.call("DBSIZE")
    done = run("--json", REDIS_URL=redis.url, PORT="0")
    found = levels(done)
    assert (done.exit_code, found["workers"], found["webs"]) == (1, "error", "error")
    assert (found["redis_away"], found["persistence_off"]) == ("ok", "warning")
