"""What all tests share: private directories with short paths, a Redis for tests of scripts, and a whole stack."""

from __future__ import annotations

import gc
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from spool.keys import HOME, prefix
from spool.redis.link import RedisLink
from tests.distribution import ByGroup, is_grouped
from tests.stack import Redis, Stack, running_stack, wait_for

# How fast the machine is decides nothing. `make fuzz` runs the thorough profile.
_ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.register_profile("quick", _ANY_SPEED, max_examples=20)
settings.register_profile("thorough", _ANY_SPEED, max_examples=1000)
settings.load_profile("quick")

# Under nohup every program that a test starts would ignore SIGHUP. A handler, unlike SIG_IGN, is not inherited.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# Nothing that collecting makes is garbage; ``pytest_collection_finish`` enables it.
gc.disable()

_ALL_SLOW = re.compile(r"^pytestmark = .*\bpytest\.mark\.slow\b", re.MULTILINE)
_FIRST = ("tests/browser/", "tests/clients/", "tests/compatible/", "tests/faults/", "tests/system/", "tests/worker/")
_LAST = ("tests/web/",)


def pytest_configure(config: pytest.Config) -> None:
    """Each of xdist's processes begins to collect somewhere else, and finds compiled by the others what it comes to
    later: in a new checkout, where pytest rewrites every module."""
    worker = getattr(config, "workerinput", None)
    if worker and config.args == config.getini("testpaths"):
        here = Path(__file__).parent
        parts = sorted(str(path) for path in here.iterdir() if path.is_dir() or path.match("test_*.py"))
        first = int(worker["workerid"].removeprefix("gw")) * len(parts) // worker["workercount"]
        config.args = parts[first:] + parts[:first]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without slow tests, a module that has no others is not imported."""
    if config.getoption("markexpr") != "not slow" or collection_path.suffix != ".py":
        return None
    return bool(_ALL_SLOW.search(collection_path.read_text(encoding="utf-8"))) or None


def pytest_collection_finish() -> None:
    """Collections look only at what tests make, not at the thousands of tests themselves."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules begin in this order, in every process: groups and those that wait long first, many short ones last, so
    that no process is left alone with a long one."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[bool, bool, str]:
    is_first = is_grouped(item.nodeid) or item.nodeid.startswith(_FIRST)
    return not is_first, item.nodeid.startswith(_LAST), str(item.path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGroup | None:
    """Distribute by groups where ``--dist loadscope`` is asked for."""
    return ByGroup(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    """A directory whose path is short enough for a Unix socket in it."""
    directory = Path(tempfile.mkdtemp(prefix="spool-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def redis(short_dir: Path) -> Iterator[Redis]:
    """A Redis of this test process, for tests of the scripts."""
    directory = short_dir / "redis"
    directory.mkdir()
    server = Redis(directory, aof=False)
    server.start()
    wait_for(server.is_ready, "Redis answers")
    yield server
    server.close()


@pytest.fixture
def shard_count() -> int:
    """The number of shards of ``link``; ``tests.by_hand`` goes by it."""
    return 1


@pytest.fixture
def link(redis: Redis, shard_count: int) -> RedisLink:
    """A Redis without jobs. It is ours alone."""
    redis.link.call("FLUSHALL")
    if shard_count > 1:
        redis.link.call("SET", f"{prefix(HOME)}shards", shard_count)
    return redis.link


@pytest.fixture(scope="session")
def stack(short_dir: Path) -> Iterator[Stack]:
    """Two webs and two workers that all tests of a process share, and that none of them breaks."""
    directory = short_dir / "stack"
    directory.mkdir()
    with running_stack(directory) as running:
        yield running


@pytest.fixture(scope="session")
def open_web(short_dir: Path) -> Iterator[Stack]:
    """One web without keys and without a worker, whose operator allows two origins, and changed how jobs coalesce.
    Jobs of any kind are submitted to it."""
    directory = short_dir / "open"
    directory.mkdir()
    changed = {"ALLOWED_ORIGINS": "https://app.example,http://localhost:3000", "COALESCE_MS": 200}
    with running_stack(directory, webs=1, workers=0, BATCH_COALESCE_MS=0, **changed) as running:
        yield running


@pytest.fixture
def directory(short_dir: Path) -> Iterator[Path]:
    """A directory for one test's own stack."""
    with tempfile.TemporaryDirectory(dir=short_dir) as name:
        yield Path(name)
