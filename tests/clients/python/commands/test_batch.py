"""``spool batch`` against a real Spool."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.clients.python.commands.conftest import Run
from tests.clients.python.commands.terminal import piped
from tests.stack import Stack, wait_for

pytestmark = pytest.mark.slow


def lines(count: int, **params: object) -> str:
    """A file of so many submissions."""
    return "".join(json.dumps({"prompt": f"{n}", "params": params}) + "\n" for n in range(count))


def test_batch_interrupted_in_the_middle_and_resumed(stack: Stack, terminal: Run, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a download, even of a line: the same command goes on, and each result is there once."""
    url, source, output = stack.webs[0].url, tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(lines(300, tokens=10, rate=10), encoding="utf-8")
    run = terminal(url, "batch", "submit", str(source), "-o", str(output))
    wait_for(lambda: output.exists() and output.stat().st_size, "results were written")
    run.interrupt()
    assert run.end() == 130
    hint = re.search(r"To come back: spool (.*)\n", run.screen)
    assert hint, run.screen
    with output.open("ab") as file:
        file.write(b'{"id": "cut in the mid')
    again = terminal(url, *hint[1].split())
    assert again.end(120) == 0, again.screen
    results = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert sorted(job["batch_index"] for job in results) == list(range(300))
    assert "300 succeeded" in again.screen
    assert "/300" in again.screen


def test_batch_through_pipes(stack: Stack) -> None:
    """From stdin to JSON lines on stdout; --after skips, and a failed job is exit code 1."""
    url = stack.webs[0].url
    done = piped(url, "batch", "submit", "-", given=lines(5, tokens=2) + lines(1, fail_after=1))
    assert (done.returncode, done.stderr) == (1, "")
    batch = done.stdout.strip()
    every = piped(url, "batch", "results", batch).stdout.splitlines()
    assert len(every) == 6
    assert piped(url, "batch", "results", batch, "--after", "4").stdout.splitlines() == every[4:]
    assert "succeeded\t5\nfailed\t1\n" in piped(url, "batch", "status", batch).stdout
    assert json.loads(piped(url, "batch", "wait", batch, "--json").stdout)["ended"] is True
    assert piped(url, "batch", "cancel", batch).stdout.strip() == batch


@pytest.mark.parametrize("bad", ["nonsense", "[1]"], ids=["no JSON", "no object"])
def test_batch_with_a_wrong_line(bad: str) -> None:
    """The line is named before anything is sent."""
    done = piped("http://127.0.0.1:1", "batch", "submit", "-", given=f'{{"prompt": "x"}}\n\n{bad}\n')
    assert (done.returncode, "line 3 is not" in done.stderr) == (2, True)


def test_results_into_another_batchs_file(stack: Stack, tmp_path: Path) -> None:
    """A file with other results is not touched."""
    url, output = stack.webs[0].url, tmp_path / "out.jsonl"
    output.write_text('{"batch": "b0-other"}\n', encoding="utf-8")
    batch = piped(url, "batch", "submit", "-", "-d", given=lines(1, tokens=1)).stdout.strip()
    done = piped(url, "batch", "results", batch, "-o", str(output))
    assert (done.returncode, output.read_text(encoding="utf-8")) == (2, '{"batch": "b0-other"}\n')
