"""The command line: what it refuses before it starts anything, with which exit code and which words."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from spool import __version__
from spool.cli import spool
from spool.run.programs import banner, is_local_demo
from spool.settings import RunSettings
from tests.stack import ROOT

_FORKS = """
import json, os, sys
import spool.cli.programs
from spool.cli import main

for line in sys.stdin:
    arguments, environment, out, err = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["spool", *arguments]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Cli:
    """``spool`` in forks of one process, which has loaded it once: the import takes longer than a command."""

    def __init__(self, directory: Path) -> None:
        self._outputs = [directory / "stdout", directory / "stderr"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )

    def __call__(self, *arguments: str, **settings: str) -> Ended:
        """Run a command with these settings, and no others, to its end."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SPOOL_")}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([arguments, {**clean, **settings}, *map(str, self._outputs)]) + "\n")
        self._process.stdin.flush()
        returncode = int(self._process.stdout.readline())
        return Ended(returncode, *(output.read_text(encoding="utf-8") for output in self._outputs))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The command line."""
    made = Cli(tmp_path_factory.mktemp("cli"))
    yield made
    made.close()


def test_run_on_a_taken_port_names_spool_port(cli: Cli, tmp_path: Path) -> None:
    """``run`` reports a taken port in one line, before it starts anything."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = cli("run", SPOOL_PORT=port, SPOOL_DATA_DIR=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(rf"spool: SPOOL_PORT={port} is taken on 127\.0\.0\.1; .*\n", ended.stderr)


def test_web_on_a_taken_port_names_spool_port(cli: Cli, tmp_path: Path) -> None:
    """``web`` reports a taken port in one line, without gunicorn's retries."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = cli("web", SPOOL_PORT=port, SPOOL_REDIS_URL=f"unix://{tmp_path}/redis.sock")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(rf"spool: SPOOL_PORT={port} is taken on 127\.0\.0\.1; .*\n", ended.stderr)


@pytest.mark.parametrize("command", ["run", "web", "worker"])
def test_url_that_is_not_supported_ends_every_program(cli: Cli, tmp_path: Path, command: str) -> None:
    """An unsupported URL is reported in one line that names the variable, without a traceback or the password."""
    ended = cli(command, SPOOL_DATA_DIR=str(tmp_path), SPOOL_REDIS_URL="redis://:hunter2@a/0?no_such_option=1")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r"spool: SPOOL_REDIS_URL: .*'no_such_option' is unknown.*\n", ended.stderr)
    assert "hunter2" not in ended.stderr


def test_run_beyond_loopback_without_keys_is_refused(cli: Cli, tmp_path: Path) -> None:
    """``run`` and ``web`` refuse an address beyond loopback without keys, and name the settings."""
    for command in ("run", "web"):
        ended = cli(command, SPOOL_HOST="0.0.0.0", SPOOL_DATA_DIR=str(tmp_path))
        assert ended.returncode == 2
        assert re.search(r"SPOOL_HOST='0\.0\.0\.0'.*SPOOL_API_KEYS.*SPOOL_ALLOW_ANONYMOUS=1", ended.stderr)


def test_worker_without_any_redis_names_the_variable(cli: Cli, tmp_path: Path) -> None:
    """``worker`` starts no Redis of its own: it names the setting that is missing."""
    ended = cli("worker", SPOOL_DATA_DIR=str(tmp_path))
    assert ended.returncode == 2
    assert "SPOOL_REDIS_URL is not set" in ended.stderr


def test_version_is_the_packages(cli: Cli) -> None:
    """``spool --version`` prints the package's version."""
    assert cli("--version").stdout == f"spool, version {__version__}\n"


def commands_of(command: click.Command, name: str = "spool") -> Iterator[tuple[str, click.Command]]:
    """The command and all below it, with their names."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from commands_of(found, f"{name} {child}")


def test_help_reads_whole_at_80_columns() -> None:
    """No command's help cuts a line or needs more columns, and each option of each command is described."""
    for name, command in commands_of(spool):
        text = CliRunner().invoke(command, ["--help"], terminal_width=80).output
        assert "Options:" in text, name
        assert not [line for line in text.splitlines()[1:] if line.endswith("...") or len(line) > 80], f"{name}: {text}"
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert all(option.help for option in options), name


def test_help_lists_the_commands_of_a_user(cli: Cli) -> None:
    """The client's commands stand beside the programs, and a user's variables are no misspelt settings."""
    text = cli("--help", SPOOL_URL="http://127.0.0.1:1", SPOOL_KEY="x").stdout
    for name in ("run", "web", "worker", "submit", "tail", "batch", "top"):
        assert len(re.findall(rf"^  {name} ", text, re.MULTILINE)) == 1, name
    ended = cli("worker", SPOOL_URL="http://127.0.0.1:1", SPOOL_KEY="x", SPOOL_DATA_DIR="/nonexistent")
    assert "SPOOL_URL" not in ended.stderr


@pytest.mark.parametrize(
    ("settings", "embedded"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"require_key": True}, True),
        ({"allow_anonymous": True}, True),
        ({"demo": False}, True),
        ({}, False),
    ],
    ids=["beyond loopback", "with keys", "for everybody", "without the demo", "on another Redis"],
)
def test_processes_can_be_killed_in_a_local_demo_alone(settings: dict[str, object], embedded: bool) -> None:
    """The console offers that where everything runs on this machine for its user, and nowhere else."""
    assert is_local_demo(RunSettings(), embedded=True)
    assert not is_local_demo(RunSettings(**settings), embedded=embedded)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"api_keys": "alice=secret-of-alice-0123456789"}, "a secret of SPOOL_API_KEYS>"),
        ({"api_keys_file": "keys"}, "a secret of SPOOL_API_KEYS_FILE>"),
        ({"jwt_jwks_file": "keys.json"}, "a token of your identity provider>"),
        ({"require_key": True}, "spool keys create --owner NAME>"),
        ({}, ""),
    ],
    ids=["static", "file", "JWT", "in Redis", "none"],
)
def test_banner_says_which_credential_to_send(settings: dict[str, object], shown: str) -> None:
    """The command that it proposes works on this server."""
    text = banner(RunSettings(**settings), 8000, embedded=True)  # type: ignore[arg-type]
    assert (shown in text, "Authorization" in text) == (True, bool(shown))
