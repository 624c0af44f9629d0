"""Fail points: what the variable may say, what then happens, and that the list of them is what the code has."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from redis.exceptions import ConnectionError as ConnectionLost

from spool import fail_points
from spool.errors import OutcomeUnknown, SettingsError
from spool.fail_points import POINTS, VARIABLE, FailPoint, armed
from spool.settings import WorkerSettings, known_variables
from tests.stack import ROOT, wait_for
from tests.syntax import nodes_of

REACHING = (
    "from spool.fail_points import reach\nfor n in range(5):\n    reach('append.answered'); print(n, flush=True)\n"
)


def run_armed(value: str, program: str = REACHING) -> subprocess.Popen[str]:
    """A process that reaches a point five times and counts aloud."""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, VARIABLE: value},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_points_in_the_code_are_those_of_the_list() -> None:
    """Every listed point is reached at exactly one place, in the file that the list names, and no other is."""
    found: Counter[tuple[str, str]] = Counter()
    for package in ("spool", "web", "worker"):
        for path in (ROOT / package).rglob("*.py"):
            for node in nodes_of(path):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach":
                    assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: not a plain name"
                    found[str(path.relative_to(ROOT)), node.args[0].value] += 1
    assert found == Counter((point.file, name) for name, point in POINTS.items())


def test_unset_variable_arms_nothing() -> None:
    """Without the variable, or with an empty one, reaching a point is a call of nothing."""
    assert armed({}) is armed({VARIABLE: ""}) is fail_points.reach
    fail_points.reach("append.answered")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("append.answered", "is not POINT:COUNT:ACTION"),
        ("append.answered:kill", "is not POINT:COUNT:ACTION"),
        ("append.answered:0:kill", "is not POINT:COUNT:ACTION"),
        ("append.answered:-1:kill", "is not POINT:COUNT:ACTION"),
        ("append.answered:1:explode", "is not POINT:COUNT:ACTION"),
        ("append.answered:1:kill:2", "is not POINT:COUNT:ACTION"),
        ("append.answered:1:block", "is not POINT:COUNT:ACTION"),
        ("append.answered:p=0.5:kill", "is not POINT:COUNT:ACTION"),
        ("append.answered:p=2:seed=1:kill", "is not POINT:COUNT:ACTION"),
        ("append.answerd:1:kill", "no such point; use one of submit.before"),
        ("apend.*:1:kill", "no such point"),
        ("append.ans*:1:kill", "is not POINT:COUNT:ACTION"),
        ("claim.before:1:raise", "no answer of Redis to lose"),
    ],
)
def test_nonsense_is_refused(value: str, says: str) -> None:
    """A value that means nothing is an error that names the variable and the value."""
    with pytest.raises(SettingsError, match=VARIABLE) as caught:
        FailPoint.parse(value)
    assert repr(value) in str(caught.value)
    assert says in str(caught.value)


def test_nonsense_ends_the_program() -> None:
    """A program with a value that means nothing does not start."""
    process = run_armed("append.answered:1:explode")
    printed, complaint = process.communicate(timeout=60)
    assert process.returncode != 0
    assert printed == ""
    assert "SettingsError: SPOOL_FAIL_POINT=" in complaint


def test_settings_know_the_variable_and_do_not_show_it() -> None:
    """Programs accept the variable; it is no setting, and stands in no list of them."""
    WorkerSettings.read({VARIABLE: "append.answered:1:kill"})
    assert VARIABLE not in known_variables()


def test_kill_at_the_third_time() -> None:
    """The process is gone in the middle of its third time there, and says where on standard error."""
    process = run_armed("append.answered:3:kill")
    printed, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert printed == "0\n1\n"
    assert said == f"fail point append.answered: kill {process.pid}\n"


def test_stop_and_go_on() -> None:
    """The process is stopped there, and goes on from there."""
    process = run_armed("append.*:2:stop")
    wait_for(lambda: os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT), "it is stopped")
    process.send_signal(signal.SIGCONT)
    printed, _said = process.communicate(timeout=60)
    assert (process.returncode, printed) == (0, "0\n1\n2\n3\n4\n")


def test_happens_once_in_a_tree_of_processes() -> None:
    """A process that its parent forks again in the place of one that was killed gets past the point."""
    program = "import os\nfrom spool.fail_points import reach\nfor n in range(2):\n    if os.fork() == 0:\n"
    program += "        reach('append.answered'); print('past', flush=True); os._exit(0)\n    os.wait()\n"
    printed, said = run_armed("append.answered:1:kill", program).communicate(timeout=60)
    assert printed == "past\n"
    assert said.count("kill") == 1


def test_block_holds_the_thread() -> None:
    """A block sleeps without giving way to anything else in its thread."""
    point = FailPoint.parse("append.gathered:1:block=0.05")
    began = time.monotonic()
    point.reach("append.gathered")
    assert time.monotonic() - began >= 0.05


def test_raise_is_what_a_lost_answer_is_there() -> None:
    """Above the link a lost answer is ``OutcomeUnknown``; within it a lost connection. Elsewhere nothing is raised."""
    with pytest.raises(OutcomeUnknown):
        FailPoint.parse("append.answered:1:raise").reach("append.answered")
    with pytest.raises(ConnectionLost):
        FailPoint.parse("link.sent:1:raise").reach("link.sent")
    anywhere = FailPoint.parse("*:1:raise")
    for name in (name for name, point in POINTS.items() if point.lost is None):
        anywhere.reach(name)
    with pytest.raises(OutcomeUnknown):
        anywhere.reach("claim.answered")


def test_chance_is_drawn_from_the_seed() -> None:
    """The same seed gives the same times; about as many as the chance says."""

    def times(seed: int) -> list[int]:
        point, found = FailPoint.parse(f"append.*:p=0.2:seed={seed}:raise"), []
        for n in range(1000):
            try:
                point.reach("append.answered")
            except OutcomeUnknown:
                found.append(n)
        return found

    assert times(7) == times(7) != times(8)
    assert 100 < len(times(7)) < 300


def test_other_points_do_not_count() -> None:
    """The count is that of the points that are named."""
    point = FailPoint.parse("claim.*:2:raise")
    point.reach("append.answered")
    point.reach("claim.before")
    point.reach("claim.answered")
    with pytest.raises(OutcomeUnknown):
        point.reach("claim.answered")
