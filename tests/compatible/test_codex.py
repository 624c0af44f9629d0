"""The real Codex CLI, unmodified, through Spool: shell commands, an edit, a resume, an overflow, a cut stream.

It is looked for as ``SPOOL_CODEX``, or ``codex`` on PATH; without it the tests are skipped.
"""

from __future__ import annotations

import json
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
from tests.faults.upstreams import stack_with_many
from tests.proxy import Proxy
from tests.scripted_upstream import Call, Script, wait_until
from tests.stack import Stack

pytestmark = pytest.mark.slow

CODEX = os.environ.get("SPOOL_CODEX") or shutil.which("codex")
PATCH = "*** Begin Patch\n*** Add File: b.txt\n+patched\n*** End Patch\n"
COMMAND = "echo one > a.txt; echo SHELL-RAN"
CONFIG = """
model = "{model}"
model_provider = "spool"
[model_providers.spool]
name = "spool"
base_url = "{url}/v1"
wire_api = "responses"
[analytics]
enabled = false
"""
KNOWN, UNKNOWN = "gpt-6-sol", "small"
"""A model that Codex knows: it gets custom tools in namespaces, as an item of the input. Any other gets functions."""


def calls_tool(call: Call, name: str, **arguments: str) -> None:
    """An answer with a thought and one call."""
    call.begin()
    call.delta(reasoning_content="Thinking. ")
    function = {"name": name, "arguments": json.dumps(arguments)}
    call.delta(
        tool_calls=[{"index": 0, "id": f"call-{len(call.body['messages'])}", "type": "function", "function": function}]
    )
    call.done("tool_calls", usage=(10, 5))


def works(call: Call) -> None:
    """A model that runs a command, edits a file, and says so."""
    results = sum(message["role"] == "tool" for message in call.body["messages"])
    has_exec = any(tool["function"]["name"] == "functions__exec" for tool in call.body["tools"])
    if results == 0 and has_exec:
        source = f"text(await tools.exec_command({{cmd: {json.dumps(COMMAND)}}}))"
        calls_tool(call, "functions__exec", input=source)
    elif results == 0:
        calls_tool(call, "exec_command", cmd=COMMAND)
    elif results == 1 and has_exec:
        calls_tool(call, "functions__exec", input=f"text(await tools.apply_patch({json.dumps(PATCH)}))")
    elif results == 1:
        calls_tool(call, "exec_command", cmd=f"apply_patch <<'EOF'\n{PATCH}EOF")
    else:
        call.begin()
        call.text("All done.")
        call.done(usage=(20, 3))


class Codex:
    """The CLI in a project of its own."""

    def __init__(self, stack: Stack, calls: list[Call], directory: Path, model: str, url: str) -> None:
        self.stack = stack
        self.calls = calls
        self.project = directory / "project"
        self.project.mkdir()
        self._home = directory / "home"
        self._home.mkdir()
        (self._home / "config.toml").write_text(CONFIG.format(model=model, url=url))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the CLI to its end."""
        assert CODEX
        return subprocess.run(
            [CODEX, "exec", *arguments],
            cwd=self.project,
            env={**os.environ, "CODEX_HOME": str(self._home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )

    def ask(self, prompt: str) -> subprocess.CompletedProcess[str]:
        """Ask in a new conversation."""
        return self.run("--skip-git-repo-check", "-s", "danger-full-access", prompt)

    def jobs(self) -> list[str]:
        """The states of all jobs."""
        return [job["status"] for job in self.stack.client(0).get("/jobs?limit=200").json()["jobs"]]


Start = Callable[..., Any]


@pytest.fixture
def codex(short_dir: Path) -> Start:
    """Starts a Spool before a model with this script, for a Codex that asks for it through this proxy."""
    if not CODEX:
        pytest.skip("no codex: set SPOOL_CODEX to its path")

    @contextmanager
    def start(script: Script, model: str = UNKNOWN, proxies: list[Proxy] | None = None) -> Iterator[Codex]:
        directory = Path(mkdtemp(dir=short_dir))
        with stack_with_many(directory, {model: [script]}, webs=1) as (stack, upstreams):
            url = stack.webs[0].url
            if proxies is not None:
                proxies.append(Proxy(int(url.rpartition(":")[2])))
                url = f"http://127.0.0.1:{proxies[0].port}"
            yield Codex(stack, upstreams[model].calls, directory, model, url)
            for proxy in proxies or ():
                proxy.close()

    return start


@pytest.mark.parametrize("model", [KNOWN, UNKNOWN])
def test_command_edit_and_resume(codex: Start, model: str) -> None:
    """Codex runs the command and makes the edit that the model asks for; the model gets their results and what it
    thought, also in a later session."""
    with codex(works, model) as cli:
        done = cli.ask("write files")
        assert "All done." in done.stdout, done.stderr
        assert (cli.project / "a.txt").read_text() == "one\n"
        assert (cli.project / "b.txt").read_text() == "patched\n"
        assert cli.jobs() == ["succeeded"] * 3
        resumed = cli.run("resume", "--last", "--skip-git-repo-check", "and again")
        assert "All done." in resumed.stdout, resumed.stderr
        messages = cli.calls[-1].body["messages"]
    said = [message for message in messages if message["role"] == "assistant"]
    assert [message.get("reasoning_content") for message in said] == ["Thinking. ", "Thinking. ", None]
    results = [str(message["content"]) for message in messages if message["role"] == "tool"]
    assert "SHELL-RAN" in results[0]
    assert len(results) == 2


def test_overflow(codex: Start) -> None:
    """Codex recognises a conversation that is too long, and asks once."""
    with codex(lambda call: call.json(400, {"error": ERRORS["context"][1]})) as cli:
        done = cli.ask("too much")
        assert "context window" in done.stderr
        assert cli.jobs() == ["failed"]


def test_cut_twice(codex: Start) -> None:
    """A stream that is cut twice is one job, and its text arrives whole."""
    proxies: list[Proxy] = []

    def cut(call: Call) -> None:
        call.begin()
        call.text("All ")
        for _ in range(2):
            seen = proxies[0].accepted
            wait_until(lambda: proxies[0].cut() > 0, "a connection to cut")
            wait_until(lambda seen=seen: proxies[0].accepted > seen, "another try")  # type: ignore[misc]
        call.text("done.")
        call.done(usage=(1, 2))

    with codex(cut, proxies=proxies) as cli:
        done = cli.ask("go")
        assert "All done." in done.stdout, done.stderr
        assert cli.jobs() == ["succeeded"]
        assert len(cli.calls) == 1
