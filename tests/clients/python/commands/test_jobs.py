"""The commands for jobs against a real Spool."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Jobs
from tests.clients.http_proxy import STREAM, HttpProxy
from tests.clients.python.commands.conftest import Run
from tests.clients.python.commands.terminal import SPOOL, appended, environment, piped
from tests.stack import Stack, running_stack, wait_for

pytestmark = pytest.mark.slow


def test_submit_by_each_source(stack: Stack, jobs: Jobs, tmp_path: Path) -> None:
    """The prompt is an argument, a file or stdin; the answer in a pipe is the log's text and nothing else."""
    url = stack.webs[0].url
    (tmp_path / "prompt.txt").write_text("Hello", encoding="utf-8")
    ways = [(["Hello"], ""), (["--file", str(tmp_path / "prompt.txt")], ""), ([], "Hello"), (["-"], "Hello")]
    texts = []
    for arguments, given in ways:
        done = piped(url, "submit", *arguments, "-f", "-p", "tokens=20", "-m", "demo", given=given)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        texts.append(done.stdout)
    job = piped(url, "submit", "Hello", "-p", "tokens=20").stdout.strip()
    assert set(texts) == {jobs.ended(job)["text"]}


def test_submit_with_every_option(stack: Stack) -> None:
    """Options reach the job; the same key gives the same job; --json writes the record."""
    options = ["-p", "tokens=3", "--metadata", "team=a", "--priority", "batch", "--timeout", "60", "--json"]
    runs = [piped(stack.webs[0].url, "submit", "x", *options, "--idempotency-key", "k1") for _ in range(2)]
    first, second = (json.loads(run.stdout) for run in runs)
    assert first["id"] == second["id"]
    assert (first["metadata"], first["priority"]) == ({"team": "a"}, "batch")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["tail", "j0-00000000000000000000000000"], 3, "no such job"),
        (["submit", "x", "-m", "nothing"], 3, "nothing"),
        (["submit", "x", "-p", "tokens"], 2, "must be NAME=VALUE"),
        (["submit", "x", "--file", "y"], 2, "not both"),
        (["submit", "x", "-f", "-p", "fail_after=2"], 1, "demo_failure"),
        (["jobs", "--status", "lost"], 2, "lost"),
        (["frob"], 2, "frob"),
    ],
)
def test_exit_code_of_each_failure(stack: Stack, arguments: list[str], code: int, said: str) -> None:
    """A failure is a line on stderr and the documented code."""
    done = piped(stack.webs[0].url, *arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_wait_cancel_delete_and_list(stack: Stack, jobs: Jobs) -> None:
    """A time that passes, a cancelled job and a deleted one each have their code; lists are tab-separated in a pipe."""
    url, job = stack.webs[0].url, jobs.submit(tokens=10_000, rate=1)
    assert piped(url, "wait", job, "--timeout", "0.5").returncode == 124
    assert piped(url, "cancel", job).stdout.startswith(job)
    assert piped(url, "wait", job).returncode == 5
    rows = [line.split("\t") for line in piped(url, "jobs", "--status", "cancelled").stdout.splitlines()]
    assert [job, "cancelled", "demo"] in [row[:3] for row in rows]
    assert json.loads(piped(url, "jobs", "--limit", "1", "--json").stdout)["id"]
    assert piped(url, "delete", job).returncode == 0
    assert piped(url, "show", job).returncode == 3


def test_interrupted_answer_goes_on_where_it_was(stack: Stack, jobs: Jobs, terminal: Run, tmp_path: Path) -> None:
    """Ctrl-C says how to come back, and the parts together are the log's text, each piece once."""
    url, job, path = stack.webs[0].url, jobs.submit(tokens=9000, rate=30), tmp_path / "answer.txt"
    command = ["tail", job]
    for _ in range(3):
        with appended(path) as output:
            run = terminal(url, *command, stdout=output)
        size = path.stat().st_size
        wait_for(lambda size=size: path.stat().st_size > size, "text was written")  # type: ignore[misc]
        run.interrupt()
        assert run.end() == 130, run.screen
        hint = re.search(r"To come back: spool (.*)\n", run.screen)
        assert hint, run.screen
        command = hint[1].split()
    jobs.cancel(job)
    with appended(path) as output:
        assert terminal(url, *command, stdout=output).end() == 5
    assert path.read_text(encoding="utf-8") == jobs.ended(job)["text"]


def test_interrupted_submit_names_its_key(terminal: Run) -> None:
    """Before there is an answer, Ctrl-C names the key under which the command can be repeated."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        run = terminal(f"http://127.0.0.1:{silent.getsockname()[1]}", "submit", "x")
        connection, _ = silent.accept()
        with connection:
            connection.recv(10)
            run.interrupt()
            assert run.end() == 130
    assert "the same command with --idempotency-key " in run.screen


def test_answer_into_a_pipe_whose_reader_leaves(stack: Stack, jobs: Jobs) -> None:
    """``| head`` ends the command without a traceback, and the job goes on."""
    job = jobs.submit(tokens=3000, rate=0)
    jobs.ended(job)
    line = f"{shlex.join(SPOOL)} tail {job} --json | head -2; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        env=environment(stack.webs[0].url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (141, "", 2)


def test_key_from_the_environment_or_a_file(directory: Path, tmp_path: Path) -> None:
    """The key is read from SPOOL_KEY, or from a file; a wrong one is refused with code 3."""
    with running_stack(directory, webs=1, workers=1, API_KEYS="alice=correct-horse-battery-staple") as own:
        url = own.webs[0].url
        (tmp_path / "key").write_text("correct-horse-battery-staple\n", encoding="utf-8")
        assert piped(url, "jobs", SPOOL_KEY="correct-horse-battery-staple").returncode == 0
        assert piped(url, "jobs", SPOOL_KEY_FILE=str(tmp_path / "key")).returncode == 0
        assert piped(url, "jobs").returncode == 3
        assert piped(url, "jobs", SPOOL_KEY="wrong").returncode == 3
        missing = piped(url, "jobs", SPOOL_KEY_FILE="/nonexistent/key")
        assert (missing.returncode, "there is no file" in missing.stderr) == (2, True)


def test_connection_that_is_lost_is_shown(own_stack: Stack, own_jobs: Jobs, terminal: Run) -> None:
    """On a terminal the loss and the return of the server are said; the answer is whole."""
    job = own_jobs.submit(tokens=300, rate=30)
    run = terminal(own_stack.webs[0].url, "tail", job)
    wait_for(lambda: run.screen, "text was shown")
    own_stack.webs[0].kill()
    run.until("coming back")
    own_stack.webs[0].start()
    run.until("back after entry")
    assert run.end() == 0


def test_status_and_top(stack: Stack, jobs: Jobs, terminal: Run) -> None:
    """Both say that the server accepts jobs; top shows a running job on a terminal and ends with Ctrl-C."""
    url, job = stack.webs[0].url, jobs.submit(tokens=10_000, rate=1)
    assert "accepts jobs" in piped(url, "status").stdout
    assert json.loads(piped(url, "status", "--json").stdout)["ready"] is True
    jobs_of_demo = json.loads(piped(url, "top", "--json").stdout)["queues"]
    assert any(queue["model"] == "demo" and queue["running"] for queue in jobs_of_demo)
    run = terminal(url, "top")
    run.until(job)
    run.interrupt()
    assert run.end() == 0
    jobs.cancel(job)
    down = piped("http://127.0.0.1:1", "status")
    assert (down.returncode, "cannot be reached" in down.stderr) == (4, True)


def test_doctor_names_what_is_blocked(stack: Stack, proxy: HttpProxy) -> None:
    """Each check is a line; where a proxy refuses streams, that line fails with advice, and the others do not."""
    well = piped(stack.webs[0].url, "doctor")
    assert (well.returncode, well.stdout.count("ok ")) == (0, 8), well.stdout
    proxy.refused = [STREAM]
    ill = [json.loads(line) for line in piped(proxy.url, "doctor", "--json").stdout.splitlines()]
    assert [finding["name"] for finding in ill if not finding["ok"]] == ["sse"]
    away = piped("http://127.0.0.1:1", "doctor")
    assert (away.returncode, "check --url" in away.stdout) == (1, True)


def test_usage_by_model_and_owner(stack: Stack, jobs: Jobs) -> None:
    """Each group is a line, in the order of the columns; --json writes the whole document; a wrong day is named."""
    url = stack.webs[0].url
    jobs.ended(piped(url, "submit", "Hello", "-p", "tokens=20", "-m", "demo").stdout.strip())
    found = json.loads(piped(url, "usage", "--group", "model,owner", "--json").stdout)
    assert found["total"]["output_tokens"] >= 20
    lines = piped(url, "usage", "--group", "model,owner").stdout.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [[row["model"], row["owner"]] for row in found["usage"]]
    wrong = piped(url, "usage", "--from", "yesterday")
    assert (wrong.returncode, "from" in wrong.stderr) == (3, True)
