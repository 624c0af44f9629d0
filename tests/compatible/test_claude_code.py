"""The real Claude Code CLI, unmodified, through Spool: shell commands, an edit, a resume, an overflow, a cut stream.

It is looked for as ``SPOOL_CLAUDE``, or ``claude`` on PATH (npm: ``@anthropic-ai/claude-code``); without it the tests
are skipped. It asks at Spool alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from tests.compatible.scripts import ERRORS
from tests.compatible.test_codex import calls_tool
from tests.faults.upstreams import stack_with_many
from tests.proxy import Proxy
from tests.scripted_upstream import Call, Script, wait_until
from tests.stack import Stack

pytestmark = pytest.mark.slow

CLAUDE = os.environ.get("SPOOL_CLAUDE") or shutil.which("claude")
MODEL = "claude-small"
OFFLINE = ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_AUTOUPDATER", "DISABLE_TELEMETRY")


class ClaudeCode:
    """The CLI in a project of its own."""

    def __init__(self, stack: Stack, calls: list[Call], directory: Path, url: str) -> None:
        self.stack = stack
        self.calls = calls
        self.project = directory / "project"
        self.project.mkdir()
        home = directory / "home"
        home.mkdir()
        self._env = {
            **{name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ},
            **dict.fromkeys(OFFLINE, "1"),
            "HOME": str(home),
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "none",
        }

    def ask(self, prompt: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Ask, with leave to run commands and to edit."""
        assert CLAUDE
        return subprocess.run(
            [CLAUDE, "-p", prompt, "--model", MODEL, "--allowedTools", "Bash", "Read", "Edit", *arguments],
            cwd=self.project,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    def jobs(self) -> list[str]:
        """The states of all jobs."""
        return [job["status"] for job in self.stack.client(0).get("/jobs?limit=200").json()["jobs"]]


Start = Callable[..., Any]


@pytest.fixture
def claude(short_dir: Path) -> Start:
    """Starts a Spool before a model with this script, for a Claude Code that asks for it through this proxy."""
    if not CLAUDE:
        pytest.skip("no claude: set SPOOL_CLAUDE to its path")

    @contextmanager
    def start(script: Script, proxies: list[Proxy] | None = None) -> Iterator[ClaudeCode]:
        directory = Path(mkdtemp(dir=short_dir))
        with stack_with_many(directory, {MODEL: [script]}, webs=1) as (stack, upstreams):
            url = stack.webs[0].url
            if proxies is not None:
                proxies.append(Proxy(int(url.rpartition(":")[2])))
                url = f"http://127.0.0.1:{proxies[0].port}"
            yield ClaudeCode(stack, upstreams[MODEL].calls, directory, url)
            for proxy in proxies or ():
                proxy.close()

    return start


def test_command_edit_and_resume(claude: Start) -> None:
    """Claude Code runs the command and makes the edit that the model asks for; the model gets their results and its
    thoughts, also in a later session."""
    path = ""

    def works(call: Call) -> None:
        results = sum(message["role"] == "tool" for message in call.body["messages"])
        if results == 0:
            calls_tool(call, "Bash", command="echo one > a.txt; echo SHELL-RAN", description="Write a file")
        elif results == 1:
            calls_tool(call, "Read", file_path=path)
        elif results == 2:
            calls_tool(call, "Edit", file_path=path, old_string="one", new_string="edited")
        else:
            call.begin()
            call.text("All done.")
            call.done(usage=(20, 3))

    with claude(works) as cli:
        path = str(cli.project / "a.txt")
        done = cli.ask("write files")
        assert done.stdout == "All done.\n", done.stdout + done.stderr
        assert (cli.project / "a.txt").read_text() == "edited\n"
        assert cli.jobs() == ["succeeded"] * 4
        resumed = cli.ask("and again", "--continue")
        assert resumed.stdout == "All done.\n", resumed.stdout + resumed.stderr
        messages = cli.calls[-1].body["messages"]
    said = [message for message in messages if message["role"] == "assistant"]
    assert [message.get("reasoning_content") for message in said] == ["Thinking. "] * 3 + [None]
    results = [str(message["content"]) for message in messages if message["role"] == "tool"]
    assert "SHELL-RAN" in results[0]
    assert len(results) == 3


def test_overflow(claude: Start) -> None:
    """Claude Code recognises a conversation that is too long, and asks once."""
    with claude(lambda call: call.json(400, {"error": ERRORS["context"][1]})) as cli:
        done = cli.ask("too much")
        assert "Prompt is too long" in done.stdout, done.stdout + done.stderr
        assert cli.jobs() == ["failed"]


def test_cut(claude: Start) -> None:
    """A stream that is cut is one job, and its text arrives whole."""
    proxies: list[Proxy] = []

    def cut(call: Call) -> None:
        call.begin()
        call.text("All ")
        seen = proxies[0].accepted
        wait_until(lambda: proxies[0].cut() > 0, "a connection to cut")
        wait_until(lambda: proxies[0].accepted > seen, "another try")
        call.text("done.")
        call.done(usage=(1, 2))

    with claude(cut, proxies=proxies) as cli:
        done = cli.ask("go")
        assert done.stdout == "All done.\n", done.stdout + done.stderr
        assert cli.jobs() == ["succeeded"]
        assert len(cli.calls) == 1
