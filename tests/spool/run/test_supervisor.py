"""The supervisor over tiny programs: real processes, real signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
