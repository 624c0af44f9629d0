"""The container files: what can be proven of them without a container engine. nginx is a real one."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.settings import WebSettings, WorkerSettings, known_variables
from tests.loopback import NO_CERTIFICATES
from tests.stack import running_stack

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def compose() -> dict[str, Any]:
    """compose.yaml, parsed."""
    yaml = pytest.importorskip("yaml")
    parsed: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    return parsed


def test_services_are_two_webs_two_workers_and_what_they_need() -> None:
    """Two of each, so that nothing that works here works only alone."""
    watching = {"prometheus", "grafana"}
    assert set(compose()["services"]) == {"nginx", "web1", "web2", "worker1", "worker2", "redis", *watching}


def test_nothing_is_published_but_on_loopback() -> None:
    """Neither Redis nor a web is reachable from outside, nor are nginx and Grafana from other machines."""
    published = {name: s["ports"] for name, s in compose()["services"].items() if "ports" in s}
    assert published == {"nginx": ["127.0.0.1:8080:8080"], "grafana": ["127.0.0.1:3000:3000"]}


def test_redis_keeps_what_it_was_given() -> None:
    """Append-only file, on a volume, and no eviction."""
    redis = compose()["services"]["redis"]
    options = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert redis["volumes"] == ["redis:/data"]


def test_services_have_time_to_drain_and_are_checked() -> None:
    """Docker's own 10 s would cut a drain short; whoever others wait for has a health check."""
    services = compose()["services"]
    for name in ("web1", "web2"):
        drain_s = float(services[name]["environment"]["SPOOL_DRAIN_S"])
        assert int(services[name]["stop_grace_period"].rstrip("s")) > drain_s + 5
        assert services[name]["command"] == ["spool", "web"]
    for name in ("worker1", "worker2"):
        drain_s = float(services[name]["environment"]["SPOOL_WORKER_DRAIN_S"])
        assert int(services[name]["stop_grace_period"].rstrip("s")) > drain_s + 5
        assert services[name]["command"] == ["spool", "worker"]
    for name in ("nginx", "redis"):
        assert services[name]["healthcheck"]["test"]
    assert "HEALTHCHECK" in (COMPOSE / "Dockerfile").read_text(encoding="utf-8")


def test_environment_of_services_is_known_and_accepted() -> None:
    """Every SPOOL_ variable that the files name exists, and the programs take the values."""
    for name, service in compose()["services"].items():
        environment = service.get("environment", {})
        if name.startswith("web"):
            WebSettings.read(environment).check_exposure()
        elif name.startswith("worker"):
            WorkerSettings.read(environment)
    for path in ("compose.yaml", "example.env", "Dockerfile"):
        named = set(re.findall(r"SPOOL_[A-Z_]+", (COMPOSE / path).read_text(encoding="utf-8")))
        assert named <= set(known_variables()), path


def test_dockerfile_copies_only_what_exists() -> None:
    """Every path that the image is made of is in the checkout, and its ignore file lets it in."""
    text = (COMPOSE / "Dockerfile").read_text(encoding="utf-8")
    sources = [s for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.M) for s in line.split()[:-1]]
    ignore = (COMPOSE / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignore


def test_nginx_lets_spool_itself_refuse_a_large_body() -> None:
    """nginx's limit is above Spool's own, so that the answer is Spool's."""
    match = re.search(r"client_max_body_size (\d+)m;", (COMPOSE / "nginx.conf").read_text(encoding="utf-8"))
    assert match
    assert int(match[1]) * 2**20 > WebSettings.read({}).max_body_bytes


def test_nginx_forgets_a_connection_before_gunicorn_does() -> None:
    """Else a POST may be sent on a connection that the web is just closing, and fail."""
    nginx = re.search(r"keepalive_timeout (\d+)s;", (COMPOSE / "nginx.conf").read_text(encoding="utf-8"))
    conf = (ROOT / "web" / "gunicorn.conf.py").read_text(encoding="utf-8")
    gunicorn = re.search(r"^keepalive = (\d+)$", conf, re.M)
    assert nginx
    assert gunicorn
    assert int(nginx[1]) < int(gunicorn[1])


# -- a real nginx ----------------------------------------------------------------------------------------------


class Upstream:
    """A web of ours, reduced to a socket: every connection is given to ``answer``, on a thread."""

    def __init__(self, answer: Callable[[Upstream, str, socket.socket], None]) -> None:
        self.requests: list[str] = []
        self.release = threading.Event()
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        self.release.set()
        # shutdown wakes up a thread that waits in accept; close alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(20)
            head = read_until(connection, b"\r\n\r\n").decode()
            self.requests.append(head)
            self._answer(self, head, connection)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What comes up to and including ``end``, or up to the end of the connection."""
    data = b""
    while end not in data:
        piece = connection.recv(1)
        if not piece:
            break
        data += piece
    return data


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Wait for ``condition``; fails with ``what`` was awaited."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody accepts connections on ``port``."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


Start = Callable[..., int]


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Start]:
    """``nginx(web1, web2)`` starts a real one with our configuration before these two ports; gives its port."""
    started: list[subprocess.Popen[bytes]] = []

    def start(web1: int, web2: int) -> int:
        port = free_port()
        text = (COMPOSE / "nginx.conf").read_text(encoding="utf-8")
        for old, new in (
            ("web1:8000", f"127.0.0.1:{web1}"),
            ("web2:8000", f"127.0.0.1:{web2}"),
            ("listen 8080", f"listen 127.0.0.1:{port}"),
            ("/tmp/", f"{tmp_path}/"),
            ("worker_processes auto;", "worker_processes 1;"),
            ("worker_rlimit_nofile 65536;", ""),
            ("worker_connections 16384;", "worker_connections 256;"),
            ("proxy_read_timeout 5s;", "proxy_read_timeout 1s;"),
        ):
            assert old in text, old
            text = text.replace(old, new)
        conf = tmp_path / "nginx.conf"
        conf.write_text(text, encoding="utf-8")
        command = [str(NGINX), "-p", str(tmp_path), "-c", str(conf), "-e", "stderr"]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        started.append(subprocess.Popen([*command, "-g", "daemon off;"]))
        wait_until(lambda: listens(port), "nginx to listen")
        return port

    yield start
    for process in started:
        process.terminate()
        process.wait(20)


@pytest.fixture
def upstream() -> Iterator[Callable[..., Upstream]]:
    """Starts upstreams and closes them."""
    started: list[Upstream] = []

    def start(answer: Callable[[Upstream, str, socket.socket], None]) -> Upstream:
        started.append(Upstream(answer))
        return started[-1]

    yield start
    for one in started:
        one.close()


def ask(port: int, request: str) -> socket.socket:
    """A connection on which ``request`` was sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(request.replace("\n", "\r\n").encode())
    return connection


@needs_nginx
def test_stream_through_nginx_arrives_entry_by_entry(nginx: Start, upstream: Callable[..., Upstream]) -> None:
    """The first event is there while the second has not been sent; over HTTP/1.1, nothing buffered."""

    def answer(self: Upstream, _head: str, connection: socket.socket) -> None:
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"9\r\ndata: 1\n\n\r\n")
        self.release.wait(20)
        connection.sendall(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    web = upstream(answer)
    with ask(nginx(web.port, web.port), "GET /jobs/x/stream HTTP/1.1\nHost: localhost\n\n") as reader:
        assert read_until(reader, b"data: 1\n\n").endswith(b"data: 1\n\n")
        assert not web.release.is_set()
        web.release.set()
        assert read_until(reader, b"data: 2\n\n").endswith(b"data: 2\n\n")
    assert web.requests[0].startswith("GET /jobs/x/stream HTTP/1.1\r\n")
    assert "Host: localhost\r\n" in web.requests[0]
    assert "Connection:" not in web.requests[0]


@needs_nginx
def test_websocket_through_nginx_is_upgraded(nginx: Start, upstream: Callable[..., Upstream]) -> None:
    """The upgrade passes both ways, and so do the bytes after it."""

    def answer(_self: Upstream, _head: str, connection: socket.socket) -> None:
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        connection.sendall(head.encode())
        while data := connection.recv(100):
            connection.sendall(data.upper())

    web = upstream(answer)
    request = "GET /jobs/x/ws HTTP/1.1\nHost: localhost\nUpgrade: websocket\nConnection: Upgrade\n\n"
    with ask(nginx(web.port, web.port), request) as reader:
        assert read_until(reader, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        reader.sendall(b"hello.")
        assert read_until(reader, b".") == b"HELLO."
    assert "Upgrade: websocket\r\n" in web.requests[0]
    assert "Connection: upgrade\r\n" in web.requests[0]


@needs_nginx
def test_reader_that_leaves_nginx_is_noticed_by_the_web(nginx: Start, upstream: Callable[..., Upstream]) -> None:
    """nginx closes its connection to the web when the reader's is closed: the stream's slot gets free."""
    gone = threading.Event()

    def answer(_self: Upstream, _head: str, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        if connection.recv(1) == b"":
            gone.set()

    web = upstream(answer)
    with ask(nginx(web.port, web.port), "GET / HTTP/1.1\nHost: localhost\n\n") as reader:
        read_until(reader, b"data: 1")
    assert gone.wait(20)


@needs_nginx
def test_post_that_broke_off_is_not_sent_again(nginx: Start, upstream: Callable[..., Upstream]) -> None:
    """A submit whose outcome is unknown is never repeated by nginx; the client gets 502 and decides."""

    def answer(_self: Upstream, _head: str, connection: socket.socket) -> None:
        read_until(connection, b"}")

    webs = [upstream(answer), upstream(answer)]
    request = "POST /jobs HTTP/1.1\nHost: localhost\nContent-Length: 2\n\n{}"
    with ask(nginx(webs[0].port, webs[1].port), request) as reader:
        assert read_until(reader, b"\r\n").startswith(b"HTTP/1.1 502 ")
    assert sum(len(web.requests) for web in webs) == 1


@needs_nginx
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_web_that_is_gone_is_passed_over(nginx: Start, upstream: Callable[..., Upstream], method: str) -> None:
    """With one web not listening, every request is answered by the other, also a POST: nothing was sent yet."""

    def answer(_self: Upstream, _head: str, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    port = nginx(upstream(answer).port, free_port())
    for _ in range(4):
        with ask(port, f"{method} /jobs HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n") as reader:
            assert read_until(reader, b"\r\n").startswith(b"HTTP/1.1 200 ")


@needs_nginx
def test_web_that_answers_503_is_not_taken_for_dead(nginx: Start, upstream: Callable[..., Upstream]) -> None:
    """With Redis away all webs answer 503: it reaches the client with its body, every time, and nginx adds no 502."""

    def unavailable(_self: Upstream, _head: str, connection: socket.socket) -> None:
        head = "HTTP/1.1 503 Unavailable\r\nRetry-After: 1\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + b"wait")

    port = nginx(upstream(unavailable).port, upstream(unavailable).port)
    for path in ("/jobs/x", "/jobs/x/stream", "/jobs"):
        for _ in range(4):
            with ask(port, f"GET {path} HTTP/1.1\nHost: localhost\nConnection: close\n\n") as reader:
                assert read_until(reader, b"wait").startswith(b"HTTP/1.1 503 ")


@needs_nginx
def test_web_that_stands_still_is_found_out(nginx: Start, upstream: Callable[..., Upstream]) -> None:
    """A web that takes connections and does not answer costs one request a wait; the other answers all of them, and
    those that follow, POSTs among them, do not reach it."""

    def still(self: Upstream, _head: str, _connection: socket.socket) -> None:
        self.release.wait(30)

    def well(_self: Upstream, _head: str, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    stopped = upstream(still)
    port = nginx(stopped.port, upstream(well).port)
    for _ in range(4):
        with ask(port, "GET /livez HTTP/1.1\nHost: localhost\n\n") as reader:
            assert read_until(reader, b"\r\n").startswith(b"HTTP/1.1 200 ")
    for method, path in (("POST", "/jobs"), ("GET", "/jobs/x/stream"), ("GET", "/jobs/x")):
        with ask(port, f"{method} {path} HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n") as reader:
            assert read_until(reader, b"\r\n").startswith(b"HTTP/1.1 200 ")
    assert len(stopped.requests) == 1


@needs_nginx
def test_real_web_that_is_stopped_behind_nginx(nginx: Start, directory: Path) -> None:
    """Of 40 requests while one of two webs is stopped, each gets its answer."""
    with running_stack(directory, webs=2, workers=0) as stack:
        port = nginx(stack.webs[0].port, stack.webs[1].port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, verify=NO_CERTIFICATES) as client:
            for _ in range(10):
                assert client.get("/livez").status_code == 200
            stack.webs[0].pause()
            statuses = [client.get(path).status_code for path in ("/livez", "/version", "/jobs/x", "/models") * 10]
        stack.webs[0].resume()
        assert set(statuses) == {200, 404}


def test_webs_are_ended_by_their_health_check() -> None:
    """An engine restarts what ends, so what stands still is killed; process 1 must be an init for that."""
    assert '"spool.health", "--end-children-of", "1"' in (COMPOSE / "Dockerfile").read_text(encoding="utf-8")
    services = compose()["services"]
    for name in ("web1", "web2"):
        assert services[name]["init"] is True
        assert services[name]["restart"] == "unless-stopped"
        assert "healthcheck" not in services[name]


@needs_nginx
def test_metrics_are_not_behind_nginx(nginx: Start, upstream: Callable[..., Upstream]) -> None:
    """Each web's figures are its own; from outside there are none."""
    web = upstream(lambda *_: None)
    with ask(nginx(web.port, web.port), "GET /metrics HTTP/1.1\nHost: localhost\n\n") as reader:
        assert read_until(reader, b"\r\n").startswith(b"HTTP/1.1 404 ")
    assert web.requests == []
