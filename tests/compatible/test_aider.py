"""The real aider CLI, unmodified, through Spool: an edit, and a failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.compatible.applications import run
from tests.scripted_upstream import Call, Script, ScriptedUpstream
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

AIDER = ("--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings", "--no-analytics", "--no-pretty")


def edits(call: Call) -> None:
    """An answer that is a whole file, in the format that aider asks for."""
    call.begin()
    for text in ("a.txt\n", "```\n", "patched\n", "```\n"):
        call.text(text)
    call.done()


def overflows(call: Call) -> None:
    """A prompt that is too long."""
    error = {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}
    call.json(400, {"error": error})


def output_of(stack: Stack, directory: Path) -> str:
    """The output of one command about the file ``a.txt`` in a project of its own."""
    (directory / "a.txt").write_text("old\n")
    options = ("--model", "openai/m", "--edit-format", "whole", "--map-tokens", "0", "--message", "Change it")
    env = {"OPENAI_API_BASE": f"{stack.webs[0].url}/v1", "OPENAI_API_KEY": "none", "HOME": str(directory)}
    files = ("--chat-history-file", directory / "chat", "--input-history-file", directory / "input")
    done = run(
        *("-m", "aider", *AIDER, *options, *files, directory / "a.txt"),
        environment="aider",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        **env,
    )
    return done.stdout + done.stderr


@contextmanager
def answering(upstreams: dict[str, ScriptedUpstream], script: Script) -> Iterator[None]:
    """The model ``m`` answers by this script meanwhile."""
    scripts, upstreams["m"].scripts = upstreams["m"].scripts, [script]
    try:
        yield
    finally:
        upstreams["m"].scripts = scripts


def test_edit(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]], tmp_path: Path) -> None:
    """A streamed answer changes the file."""
    stack, upstreams = stack_and_upstreams
    with answering(upstreams, edits):
        output = output_of(stack, tmp_path)
    assert (tmp_path / "a.txt").read_text() == "patched\n", output


def test_failure(stack_and_upstreams: tuple[Stack, dict[str, ScriptedUpstream]], tmp_path: Path) -> None:
    """An overflow is shown with its cause, and leaves the file."""
    stack, upstreams = stack_and_upstreams
    with answering(upstreams, overflows):
        assert "context_length_exceeded" in output_of(stack, tmp_path)
    assert (tmp_path / "a.txt").read_text() == "old\n"
