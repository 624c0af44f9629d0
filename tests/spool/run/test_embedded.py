"""The embedded server: real servers, each in a directory of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from kombu import Connection

from spool.errors import SettingsError
from spool.redis.urls import broker_url_from
from spool.run import embedded, server_binary
from spool.run.embedded import EmbeddedServer, private_directory, socket_path
from spool.run.server_binary import ServerBinary, find_server, parse_version, remember


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait for ``condition``; fails with ``what`` was awaited."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)


@contextmanager
def running(server: EmbeddedServer) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process, ready; ended afterwards."""
    process = subprocess.Popen(server.argv, stdout=subprocess.DEVNULL)
    try:
        wait_until(server.is_ready, "the server to answer PING")
        yield process
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server of its own directory, acquired."""
    server = EmbeddedServer(tmp_path / "data")
    server.acquire()
    yield server
    server.release()


def test_server_keeps_data_over_a_restart(server: EmbeddedServer) -> None:
    """What was written before SIGTERM is there after the next start, and nothing is ever evicted."""
    with running(server), redis.Redis.from_url(server.url) as client:
        client.set("answer", "42")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
    with running(server), redis.Redis.from_url(server.url) as client:
        assert client.get("answer") == b"42"


def test_server_has_a_limit_of_memory(tmp_path: Path) -> None:
    """It refuses writes before it takes all of the machine's memory, so that the watermark means something."""
    server = EmbeddedServer(tmp_path / "limited", maxmemory=64 * 1024 * 1024)
    server.acquire()
    with running(server), redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory") == {"maxmemory": "67108864"}
    server.release()


def test_server_is_reachable_by_its_socket_alone(server: EmbeddedServer) -> None:
    """It listens on no port, and its directories and its socket are this user's alone."""
    with running(server), redis.Redis.from_url(server.url) as client:
        assert client.config_get("port") == {"port": "0"}
        for path in (server.data_dir, server.redis_dir, server.socket_path):
            assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("name", ["with space", "ü%41?#q'\"", "x" * 120])
def test_urls_with_any_path_reach_the_server(tmp_path: Path, name: str) -> None:
    """redis-py and kombu both find the socket, whatever characters its path has and however long it is."""
    server = EmbeddedServer(tmp_path / name)
    server.acquire()
    with running(server):
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
        with Connection(server.broker_url) as connection, connection.SimpleQueue("q") as queue:
            queue.put("ding")
            assert queue.get(timeout=60).payload == "ding"
    server.release()
    assert server.socket_path.parent == server.data_dir or not server.socket_path.parent.exists()


def test_acquire_of_a_directory_in_use_names_its_owner(server: EmbeddedServer) -> None:
    """The second Spool on a data directory gets a SettingsError that names the variable and the process."""
    with pytest.raises(SettingsError, match=rf"SPOOL_DATA_DIR=.*\(process {os.getpid()}\)"):
        EmbeddedServer(server.data_dir).acquire()


def test_acquire_after_a_kill_ends_the_leftover_server_and_keeps_its_data(tmp_path: Path) -> None:
    """A server that a killed supervisor left behind is ended with its files written, and its data is served again."""
    first = EmbeddedServer(tmp_path / "data")
    first.acquire()
    with running(first) as leftover:
        with redis.Redis.from_url(first.url) as client:
            client.set("answer", "42")
        assert first._lock is not None
        first._lock.close()  # what the kernel does when the supervisor is killed
        second = EmbeddedServer(tmp_path / "data")
        second.acquire()
        assert leftover.wait(20) == 0
        assert second.after_a_kill
        with running(second), redis.Redis.from_url(second.url) as client:
            assert client.get("answer") == b"42"
        second.release()


def test_acquire_with_a_foreign_process_of_the_same_number_leaves_it_alone(tmp_path: Path) -> None:
    """A pid file whose number belongs to something else by now ends nothing."""
    server = EmbeddedServer(tmp_path / "data")
    server.redis_dir.mkdir(parents=True)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (server.redis_dir / "server.pid").write_text(f"{stranger.pid}\n")
        server.acquire()
        server.release()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_acquire_after_a_clean_release_knows_no_kill(server: EmbeddedServer) -> None:
    """Only an owner that ended without release counts as killed."""
    server.release()
    server.acquire()
    assert not server.after_a_kill


def test_is_ready_without_a_server_says_no(server: EmbeddedServer) -> None:
    """Before the start there is no answer, and no error either."""
    assert not server.is_ready()


def test_socket_path_of_a_long_directory_is_short_and_its_own(tmp_path: Path) -> None:
    """Each long data directory has a short socket path of its own, always the same."""
    one, two = tmp_path / ("a" * 150), tmp_path / ("b" * 150)
    assert len(os.fsencode(socket_path(one))) <= embedded.MAX_SOCKET_PATH
    assert socket_path(one) == socket_path(one) != socket_path(two)


def test_private_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    """In a directory that anybody can write to, a place prepared by another is not used."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(SettingsError, match="SPOOL_DATA_DIR"):
        private_directory(shared, owned=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(SettingsError, match="SPOOL_DATA_DIR"):
        private_directory(link, owned=True)


def test_acquire_of_an_unusable_directory_names_the_variable(tmp_path: Path) -> None:
    """A data directory that cannot be made is a SettingsError, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="SPOOL_DATA_DIR"):
        EmbeddedServer(tmp_path / "file" / "data").acquire()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:///run/a%20b.sock", "redis+socket:///run/a%20b.sock?virtual_host=0"),
        ("unix://u:p@/run/s.sock?db=3", "redis+socket://u:p@/run/s.sock?virtual_host=3"),
        ("redis://h:1/2", "redis://h:1/2"),
        ("rediss://u:p@h:1/2?ssl_cert_reqs=none", "rediss://u:p@h:1/2?ssl_cert_reqs=none"),
    ],
)
def test_broker_url_of_each_scheme_is_kombus(url: str, expected: str) -> None:
    """Only a Unix socket is spelt otherwise."""
    assert broker_url_from(url) == expected


REDIS_70 = ServerBinary(Path("r"), "redis", (7, 0, 15))
VALKEY_91 = ServerBinary(Path("v"), "valkey", (9, 1, 2))


@pytest.mark.parametrize(
    ("binary", "product", "version", "reads"),
    [
        (REDIS_70, "redis", (7, 0, 15), True),
        (REDIS_70, "redis", (7, 2, 0), False),
        (REDIS_70, "valkey", (8, 0, 0), False),
        (VALKEY_91, "redis", (7, 2, 5), True),
        (VALKEY_91, "redis", (7, 4, 0), False),
        (VALKEY_91, "valkey", (8, 0, 0), True),
    ],
)
def test_server_reads_only_files_it_knows(
    binary: ServerBinary, product: str, version: tuple[int, int, int], reads: bool
) -> None:
    """Older files of the same product, and those from before the two products parted."""
    assert binary.reads_files_of(product, version) is reads


def test_find_server_on_data_of_a_newer_one_skips_the_older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old server that appears on PATH does not take over files that it could not load."""
    record = tmp_path / "server.version"
    monkeypatch.setattr(server_binary, "_candidates", lambda: iter([REDIS_70, VALKEY_91]))
    assert find_server(record) is REDIS_70
    remember(record, VALKEY_91)
    assert find_server(record) is VALKEY_91
    monkeypatch.setattr(server_binary, "_candidates", lambda: iter([REDIS_70]))
    with pytest.raises(SettingsError, match=r"valkey server v=9\.1\.2, which redis 7\.0\.15 cannot read"):
        find_server(record)


def test_find_server_without_any_server_on_path_takes_the_packaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing installed on the machine, the binary that came with Spool is used."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server(tmp_path / "server.version").product == "valkey"


def test_find_server_with_an_old_one_on_path_passes_it_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server older than 7.0 on PATH is as good as none."""
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho Redis server v=6.2.14 sha=0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server(tmp_path / "server.version").product == "valkey"


def test_parse_version_of_both_products() -> None:
    """What the two print, and what neither prints."""
    assert parse_version("Redis server v=7.0.15 sha=0:0 bits=64") == ("redis", (7, 0, 15))
    assert parse_version("Valkey server v=9.1.2 sha=0:0") == ("valkey", (9, 1, 2))
    assert parse_version("KeyDB server v=6.3.4") is None
