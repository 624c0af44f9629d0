"""The real opencode CLI, unmodified, through Spool: an answer, a tool, a failure.

It is looked for as ``SPOOL_OPENCODE``, or ``opencode`` on PATH; without it the tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack

OPENCODE = os.environ.get("SPOOL_OPENCODE") or shutil.which("opencode")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(OPENCODE is None, reason="no opencode: SPOOL_OPENCODE names its program"),
]

Run = Callable[[str, str], list[dict[str, Any]]]


@pytest.fixture
def opencode(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]], tmp_path: Path) -> Run:
    """One command in a project of its own, by a model's name and a prompt; the events that it prints."""
    url = stack_and_upstreams[0].webs[0].url
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    (project / "README").write_text("18 degrees in Oslo")
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Spool",
        "options": {"baseURL": f"{url}/v1", "apiKey": "none"},
        "models": {"demo": {"name": "demo"}, "fails": {"name": "fails"}},
    }
    config = {"provider": {"spool": provider}, "small_model": "spool/demo", "autoupdate": False, "share": "disabled"}
    (project / "opencode.json").write_text(json.dumps(config))

    def run(model: str, prompt: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [str(OPENCODE), "run", "--format", "json", "-m", f"spool/{model}", prompt],
            cwd=project,
            env={"PATH": os.environ["PATH"], "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=240,
            check=False,
        )
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]

    return run


def test_answer(opencode: Run) -> None:
    """An answer is whole."""
    (text,) = [event["part"]["text"] for event in opencode("demo", "What is a spool?") if event["type"] == "text"]
    assert "What is a spool?" in text


def test_tool(opencode: Run) -> None:
    """A tool is run, and its result goes back to the model."""
    events = opencode("demo", "Use read on README")
    (part,) = [event["part"] for event in events if event["type"] == "tool_use"]
    assert (part["tool"], part["state"]["input"]) == ("read", {"filePath": "README"})
    assert "18 degrees in Oslo" in part["state"]["output"]
    assert [event["part"]["reason"] for event in events if event["type"] == "step_finish"] == ["tool-calls", "stop"]


def test_failure(opencode: Run) -> None:
    """A failure is an error with its code."""
    (error,) = [event["error"] for event in opencode("fails", "model") if event["type"] == "error"]
    assert "model_not_found" in json.dumps(error)
