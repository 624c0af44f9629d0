"""The supervisor over tiny programs: real processes, real signals."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spool.run.console import Console, wants_colour
from spool.run.process import BACKOFF_MAX_S, STEADY_S, Backoff, Child, Lines, Program, describe

ROOT = Path(__file__).parents[3]

DRIVER = """
import json, os, signal, sys
from spool.run.process import Program
from spool.run.console import Console
from spool.run.supervisor import Supervisor

def program(code, ready_file=None, hurry="SIGQUIT", orphan="SIGKILL", **spec):
    ready = (lambda: os.path.exists(ready_file)) if ready_file else (lambda: True)
    return Program(argv=[sys.executable, "-uc", code], ready=ready, hurry_signal=signal.Signals[hurry],
                   orphan_signal=signal.Signals[orphan], **spec)

stages = [[program(**spec) for spec in stage] for stage in json.loads(sys.argv[1])]
console = Console(sys.stdout.buffer, ["spool", *(p.name for s in stages for p in s)], colour=False)
sys.exit(Supervisor(stages, console, on_ready=lambda: console.say("spool", "EVERYTHING READY")).run())
"""

IDLE = "import time\nwhile True: time.sleep(60)"
STUBBORN = (
    "import signal, time\nfor s in ('SIGTERM', 'SIGQUIT'): signal.signal(signal.Signals[s], lambda *_: print('no'))"
    "\nprint('up')\nwhile True: time.sleep(60)"
)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait for ``condition``; fails with ``what`` was awaited."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)


class Tree:
    """A supervisor in a process of its own, and what it has printed."""

    def __init__(self, output: Path, stages: list[list[dict[str, Any]]]) -> None:
        self.output = output
        with output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, json.dumps(stages)],
                stdout=out,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    @property
    def text(self) -> str:
        """Everything printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str, times: int = 1) -> None:
        """Wait until ``pattern`` has been printed ``times`` times."""
        wait_until(lambda: len(re.findall(pattern, self.text, re.MULTILINE)) >= times, f"{pattern!r} in:\n{self.text}")

    def pids(self, name: str) -> list[int]:
        """The processes that ``name`` has had."""
        return [int(pid) for pid in re.findall(rf"^spool +\| {name} started, process (\d+)$", self.text, re.M)]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    """Starts supervisors and ends what is left of them."""
    trees: list[Tree] = []

    def start(*stages: list[dict[str, Any]]) -> Tree:
        trees.append(Tree(tmp_path / f"{len(trees)}.log", list(stages)))
        return trees[-1]

    yield start
    for started in trees:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()


def is_alive(pid: int) -> bool:
    """Whether ``pid`` runs; one that nobody has reaped yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(shown.stdout.strip()) and not shown.stdout.strip().startswith("Z")


def test_child_that_dies_is_restarted_with_growing_pauses(tree: Callable[..., Tree]) -> None:
    """Each restart is announced with how it ended and a pause twice as long as the last."""
    started = tree([{"name": "mayfly", "code": "import sys; print('hello'); sys.exit(3)"}])
    started.wait_for(r"mayfly started", 3)
    assert started.stop() == 0
    assert re.findall(r"starts again in ([\d.]+) s", started.text)[:2] == ["0.2", "0.4"]
    assert "mayfly ended by itself: exit status 3" in started.text


def test_child_that_is_killed_is_restarted_and_its_group_ended(tree: Callable[..., Tree]) -> None:
    """When a program dies, what it had started does not live on beside its successor."""
    code = f"import subprocess; p = subprocess.Popen(['sleep', '60']); print('baby', p.pid)\n{IDLE}"
    started = tree([{"name": "parent", "code": code}])
    started.wait_for(r"baby \d+")
    baby = int(re.findall(r"baby (\d+)", started.text)[0])
    os.kill(started.pids("parent")[0], signal.SIGKILL)
    started.wait_for(r"parent ended by itself: SIGKILL")
    started.wait_for(r"parent started", 2)
    wait_until(lambda: not is_alive(baby), "the orphan to be killed")
    assert started.stop() == 0


def test_stages_start_and_stop_in_order(tree: Callable[..., Tree], tmp_path: Path) -> None:
    """The second stage starts when the first is ready; the first is stopped when the second has ended."""
    ready = tmp_path / "ready"
    code = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('up')\n{IDLE}"
    started = tree(
        [{"name": "base", "code": code, "ready_file": str(ready)}],
        [{"name": "one", "code": code}, {"name": "two", "code": code}],
    )
    started.wait_for(r"base +\| up")
    assert "one started" not in started.text
    ready.touch()
    started.wait_for(r"EVERYTHING READY")
    started.wait_for(r"(one|two) +\| up", 2)
    assert started.stop(signal.SIGINT) == 0
    stops = re.findall(r"(\w+) stopped \(exit status 0\)", started.text)
    assert sorted(stops[:2]) == ["one", "two"]
    assert stops[2:] == ["base"]


def test_stubborn_child_is_killed_after_its_time(tree: Callable[..., Tree]) -> None:
    """What does not heed SIGTERM gets SIGKILL after its own time, and the exit code tells."""
    started = tree([{"name": "mule", "code": STUBBORN, "stop_s": 0.3}, {"name": "lamb", "code": IDLE}])
    started.wait_for(r"mule +\| up")
    assert started.stop() == 1
    assert "mule does not stop: SIGKILL" in started.text
    assert "lamb stopped (SIGTERM)" in started.text
    assert not is_alive(started.pids("mule")[0])


def test_second_signal_hurries_all_but_the_base(tree: Callable[..., Tree]) -> None:
    """A second Ctrl-C does not wait out the drain time; two that come at once are one."""
    base = {"name": "base", "code": IDLE, "hurry": "SIGTERM"}
    started = tree([base], [{"name": "mule", "code": STUBBORN, "stop_s": 600, "hurry_s": 0.2}])
    started.wait_for(r"mule +\| up")
    started.process.send_signal(signal.SIGINT)
    started.process.send_signal(signal.SIGTERM)
    started.wait_for(r"mule +\| no")

    def hurried() -> bool:
        assert started.text.count("base stopped") == 0 or "hurrying" in started.text
        if "hurrying" not in started.text:
            started.process.send_signal(signal.SIGINT)
        return "hurrying" in started.text

    assert "hurrying" not in started.text
    wait_until(hurried, "the second Ctrl-C to count")
    assert started.process.wait(20) == 1
    assert "base stopped (SIGTERM)" in started.text


def test_base_that_cannot_start_ends_everything(tree: Callable[..., Tree]) -> None:
    """If the first stage dies before it was ready, nothing else is started, and the exit code is 1."""
    started = tree(
        [{"name": "base", "code": "import sys; sys.exit('cannot')", "ready_file": "/nonexistent"}],
        [{"name": "one", "code": IDLE}],
    )
    assert started.process.wait(20) == 1
    assert "base  | cannot" in started.text
    assert "base did not start; giving up" in started.text
    assert "one started" not in started.text


def test_base_that_is_never_ready_ends_everything(tree: Callable[..., Tree]) -> None:
    """Waiting for the first stage is bounded."""
    started = tree([{"name": "base", "code": IDLE, "ready_file": "/nonexistent", "start_s": 0.3}], [])
    assert started.process.wait(20) == 1
    assert "base is not ready after 0.3 s; giving up" in started.text


def test_base_that_dies_later_is_restarted(tree: Callable[..., Tree]) -> None:
    """Once everything has been ready, the first stage is restarted like any other, and the second stays."""
    started = tree([{"name": "base", "code": IDLE}], [{"name": "one", "code": IDLE}])
    started.wait_for(r"EVERYTHING READY")
    os.kill(started.pids("base")[0], signal.SIGKILL)
    started.wait_for(r"base started", 2)
    assert started.stop() == 0
    assert len(started.pids("one")) == 1
    assert started.text.count("EVERYTHING READY") == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")
def test_children_of_a_killed_supervisor_end(tree: Callable[..., Tree]) -> None:
    """A SIGKILLed supervisor leaves nothing behind."""
    started = tree([{"name": "base", "code": IDLE, "orphan": "SIGTERM"}], [{"name": "mule", "code": STUBBORN}])
    started.wait_for(r"mule +\| up")
    pids = started.pids("base") + started.pids("mule")
    started.stop(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids)), "the children to end")


def test_output_of_several_children_keeps_lines_whole(tree: Callable[..., Tree]) -> None:
    """Lines written in pieces, with and without an end, come out whole with their program's name in front."""
    code = "import os, time\nfor i in range(200): os.write(1, b'begin '); os.write(1, b'%d end\\n' % i)"
    last = f"{code}\nos.write(1, b'no line end')"
    started = tree([{"name": "a", "code": f"{code}\n{IDLE}"}, {"name": "bb", "code": f"{last}\n{IDLE}"}])
    started.wait_for(r"^a     \| begin 199 end$")
    started.wait_for(r"^bb    \| begin 199 end$")
    assert started.stop() == 0
    for line in started.text.splitlines():
        assert re.fullmatch(r"(a  |bb )   \| (begin \d+ end|no line end)|spool \| .*", line), line
    assert "bb    | no line end" in started.text


def test_child_that_closes_its_output_does_not_busy_the_supervisor(tree: Callable[..., Tree]) -> None:
    """A program may close its output and go on; it is still watched."""
    started = tree([{"name": "mute", "code": f"import os; os.close(1); os.close(2)\n{IDLE}"}])
    started.wait_for(r"EVERYTHING READY")
    os.kill(started.pids("mute")[0], signal.SIGKILL)
    started.wait_for(r"mute started", 2)
    assert started.stop() == 0


def test_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """An executable that is not there is an OSError of start, which the supervisor reports."""
    child = Child(Program(name="x", argv=[str(tmp_path / "none")]))
    with pytest.raises(FileNotFoundError):
        child.start()
    assert not child.running


def test_backoff_doubles_to_its_bound_and_is_reset_by_a_long_life() -> None:
    """0.2, 0.4, … 10, 10; and 0.2 again after 30 s of life."""
    backoff = Backoff()
    assert [backoff.after(0.1) for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, BACKOFF_MAX_S, BACKOFF_MAX_S]
    assert backoff.after(STEADY_S) == 0.2


def test_lines_of_any_split_are_the_same() -> None:
    """However the bytes are cut, the lines are the same; an endless one is given out in parts."""
    data = "één\r\ntwo\n\nthree".encode()
    for cut in range(len(data)):
        lines = Lines()
        got = lines.feed(data[:cut]) + lines.feed(data[cut:]) + lines.flush()
        assert got == ["één".encode(), b"two", b"", b"three"]
    assert Lines().feed(b"x" * 70_000) == [b"x" * 70_000]


def test_describe_of_each_end() -> None:
    """Exit statuses and signals in words."""
    assert [describe(code) for code in (0, 3, -9, -15)] == ["exit status 0", "exit status 3", "SIGKILL", "SIGTERM"]


def test_console_with_colour_paints_the_name_alone() -> None:
    """The line itself is passed on as it is."""
    out = io.BytesIO()
    Console(out, ["web"], colour=True).write("web", [b"\xffline"])
    assert out.getvalue() == b"\033[36mweb | \033[0m\xffline\n"


def test_console_whose_reader_left_drops_the_output() -> None:
    """`spool run | head` ends the output, not Spool."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as out:
        console = Console(out, ["web"], colour=False)
        console.say("web", "one")
        console.say("web", "two")


def test_colour_only_where_it_is_wanted() -> None:
    """A file gets none; NO_COLOR and a dumb terminal get none."""

    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    assert wants_colour(Terminal(), {})
    assert not wants_colour(Terminal(), {"NO_COLOR": "1"})
    assert not wants_colour(Terminal(), {"TERM": "dumb"})
    assert not wants_colour(io.BytesIO(), {})


def run_cli(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """``spool`` with these arguments and settings, and no others."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SPOOL_")}
    return subprocess.run(
        [sys.executable, "-m", "spool", *args],
        cwd=ROOT,
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_run_on_a_taken_port_names_spool_port(tmp_path: Path) -> None:
    """A port that is taken is said at once, in one line, before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_cli("run", SPOOL_PORT=port, SPOOL_DATA_DIR=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(rf"spool: SPOOL_PORT={port} is taken on 127\.0\.0\.1; .*\n", ended.stderr)


def test_web_on_a_taken_port_names_spool_port(tmp_path: Path) -> None:
    """A single web says it likewise, once, and leaves gunicorn's tries out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_cli("web", SPOOL_PORT=port, SPOOL_REDIS_URL=f"unix://{tmp_path}/redis.sock")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(rf"spool: SPOOL_PORT={port} is taken on 127\.0\.0\.1; .*\n", ended.stderr)


@pytest.mark.parametrize("command", ["run", "web", "worker"])
def test_url_that_is_not_supported_ends_every_program(tmp_path: Path, command: str) -> None:
    """One line that names the variable, no traceback, and no password."""
    ended = run_cli(command, SPOOL_DATA_DIR=str(tmp_path), SPOOL_REDIS_URL="redis://:hunter2@a/0?no_such_option=1")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r"spool: SPOOL_REDIS_URL: .*'no_such_option' is unknown.*\n", ended.stderr)
    assert "hunter2" not in ended.stderr


def test_run_beyond_loopback_without_keys_is_refused(tmp_path: Path) -> None:
    """Nobody opens Spool to the network by accident; web refuses just the same."""
    for command in ("run", "web"):
        ended = run_cli(command, SPOOL_HOST="0.0.0.0", SPOOL_DATA_DIR=str(tmp_path))
        assert ended.returncode == 2
        assert re.search(r"SPOOL_HOST='0\.0\.0\.0'.*SPOOL_API_KEYS.*SPOOL_ALLOW_ANONYMOUS=1", ended.stderr)


def test_worker_without_any_redis_names_the_variable(tmp_path: Path) -> None:
    """A single program brings no server of its own."""
    ended = run_cli("worker", SPOOL_DATA_DIR=str(tmp_path))
    assert ended.returncode == 2
    assert "SPOOL_REDIS_URL is not set" in ended.stderr


def test_version_is_the_packages() -> None:
    """``spool --version``."""
    from spool import __version__

    assert run_cli("--version").stdout == f"spool, version {__version__}\n"
