"""The death of a worker process, as the other processes of its machine notice it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spool.errors import StoreUnavailable
from tests.stack import running_stack, wait_for
from worker.neighbours import Neighbours, place_of

URL = "redis://:secret@127.0.0.1:6379/2"
HOLD = """
import sys, time
from pathlib import Path
from worker.neighbours import Neighbours
Neighbours(sys.argv[1], sys.argv[2], lambda _: 0, lambda: Path(sys.argv[3])).join()
print("joined", flush=True)
time.sleep(600)
"""


class Neighbour:
    """What one process reported."""

    def __init__(self, directory: Path, name: str = "host:1:p-a") -> None:
        self.reported: list[str] = []
        self.away = False
        self.process = Neighbours(name, URL, self._report, lambda: directory)
        self.process.join()

    def _report(self, name: str) -> int:
        if self.away:
            raise StoreUnavailable("away")
        self.reported.append(name)
        return 3


@contextmanager
def other(directory: Path, name: str = "host:2:p-b", url: str = URL) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds its lock."""
    with subprocess.Popen([sys.executable, "-c", HOLD, name, url, str(directory)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"joined\n"
            yield process
        finally:
            process.kill()


def files(directory: Path) -> list[str]:
    """The names of the processes that have a file."""
    return sorted(path.name.partition(".")[2] for path in directory.glob("spool-workers-*/*"))


def test_killed_process_is_reported_once(tmp_path: Path) -> None:
    """A process that was killed is reported, by one of the others, and its file is gone."""
    first, second = Neighbour(tmp_path), Neighbour(tmp_path, "host:3:p-c")
    with other(tmp_path) as process:
        first.process.look()
        assert first.reported == []
        process.kill()
        process.wait()
        first.process.look()
        second.process.look()
    assert (first.reported, second.reported) == (["host:2:p-b"], [])
    assert files(tmp_path) == ["host:1:p-a", "host:3:p-c"]


def test_stopped_process_is_not_reported(tmp_path: Path) -> None:
    """A process that is paused keeps its lock: it may continue."""
    neighbour = Neighbour(tmp_path)
    with other(tmp_path) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        neighbour.process.look()
    assert neighbour.reported == []


def test_death_is_reported_once_redis_is_back(tmp_path: Path) -> None:
    """While Redis is away, the file stays, and the death is reported at a later look."""
    neighbour = Neighbour(tmp_path)
    with other(tmp_path) as process:
        process.kill()
        process.wait()
    neighbour.away = True
    neighbour.process.look()
    neighbour.away = False
    neighbour.process.look()
    neighbour.process.look()
    assert neighbour.reported == ["host:2:p-b"]


@pytest.mark.parametrize(
    ("name", "url"), [("elsewhere:2:p-b", URL), ("host:2:p-b", "redis://127.0.0.1:6380/2")], ids=["machine", "Redis"]
)
def test_processes_of_others_are_left_alone(tmp_path: Path, name: str, url: str) -> None:
    """A process of another machine, or of another Redis, is not reported; an hour later its file goes when
    another process starts."""
    neighbour = Neighbour(tmp_path)
    with other(tmp_path, name, url) as process:
        process.kill()
        process.wait()
    neighbour.process.look()
    assert neighbour.reported == []
    assert files(tmp_path) == sorted([name, "host:1:p-a"])
    (path,) = tmp_path.glob(f"spool-workers-*/*{name}")
    os.utime(path, (0, time.time() - 3700))
    Neighbour(tmp_path, "host:3:p-c")
    assert files(tmp_path) == ["host:1:p-a", "host:3:p-c"]


def test_leaving_takes_the_file_away(tmp_path: Path) -> None:
    """A process that ends in order leaves nothing behind."""
    neighbour = Neighbour(tmp_path)
    neighbour.process.leave()
    neighbour.process.leave()
    assert files(tmp_path) == []


def test_directory_of_another_user_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory that others may write to, or a link in its place, is not used, and the log says so."""
    place = tmp_path / f"spool-workers-{os.getuid()}"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.symlink_to(elsewhere)
    Neighbour(tmp_path)
    place.unlink()
    place.mkdir()
    place.chmod(0o777)
    Neighbour(tmp_path)
    assert files(tmp_path) == []
    assert list(elsewhere.iterdir()) == []
    assert len([line for line in caplog.messages if "noticed by its leases only" in line]) == 2


def test_place_tells_servers_apart_but_no_secret() -> None:
    """The same server has the same place, whatever the password."""
    assert place_of(URL) == place_of("redis://user:other@127.0.0.1:6379/2")
    urls = (URL, "redis://127.0.0.1:6379/1", "redis://127.0.0.1:6380/2", "unix:///run/a.sock", "unix:///run/b.sock")
    assert len(set(map(place_of, urls))) == 5


def test_job_continues_before_its_lease_ends(directory: Path) -> None:
    """Once its worker is killed, a job begins again on the other one, though its lease has minutes left."""
    with running_stack(directory, webs=1, workers=2, LEASE_S=300) as stack:
        client = stack.client()
        job = client.post("/jobs", json={"prompt": "hi", "params": {"tokens": 200, "rate": 100}}).json()["id"]
        wait_for(lambda: client.get(f"/jobs/{job}").json()["last_entry"] > 3, "its first tokens")
        name = stack.redis.link.call("HGET", f"spool:{{0}}:job:{job}", "worker").decode()
        next(worker for worker in stack.workers if worker.pid == int(name.split(":")[1])).kill()
        wait_for(lambda: client.get(f"/jobs/{job}").json()["status"] == "succeeded", "its end")
        assert client.get(f"/jobs/{job}").json()["attempt"] == 2
