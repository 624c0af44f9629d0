"""The container files: what can be proven of them without a container engine. nginx is a real one."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from spool.run.server_binary import find_server
from spool.settings import WebSettings, WorkerSettings, known_variables
from tests.compose.nginx import Nginx, needs_nginx
from tests.loopback import NO_CERTIFICATES
from tests.stack import Process, free_port, running_stack, wait_for

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"


def compose() -> dict[str, Any]:
    """compose.yaml, parsed, with defaults for variables and ``secret`` for required ones."""
    yaml = pytest.importorskip("yaml")
    text = (COMPOSE / "compose.yaml").read_text(encoding="utf-8")
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "secret", re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


def service_groups() -> dict[str, set[str]]:
    """The services of each profile; without a profile, those that always run."""
    groups: dict[str, set[str]] = {}
    for name, service in compose()["services"].items():
        groups.setdefault(*service.get("profiles", [""]), set()).add(name)
    return groups


def test_services_are_two_webs_two_workers_and_what_they_need() -> None:
    """There are two of each program, so that nothing works only alone; everything optional has a profile."""
    always = {"nginx", "certificate", "web1", "web2", "worker1", "worker2", "redis"}
    optional = {"monitoring": {"prometheus", "grafana"}, "ollama": {"ollama"}, "vllm": {"vllm"}}
    assert service_groups() == {"": always, **optional}


def test_nothing_is_published_but_on_loopback() -> None:
    """Neither Redis nor a web is reachable from outside, nor are nginx and Grafana from other machines."""
    published = {name: s["ports"] for name, s in compose()["services"].items() if "ports" in s}
    nginx = ["127.0.0.1:8080:8080", "127.0.0.1:8443:8443"]
    assert published == {"nginx": nginx, "grafana": ["127.0.0.1:3000:3000"]}


def test_only_webs_and_workers_reach_redis() -> None:
    """Redis has a network of its own, which leads nowhere else."""
    parsed = compose()
    reach = {name for name, service in parsed["services"].items() if "redis" in service.get("networks", ())}
    assert reach == {"redis", "web1", "web2", "worker1", "worker2"}
    assert parsed["services"]["redis"]["networks"] == ["redis"]
    assert parsed["networks"]["redis"] == {"internal": True}


def test_services_are_confined() -> None:
    """Each container has a memory limit, a limit of processes, no capability and no new privileges; its root is
    read-only, but for vLLM's."""
    for name, service in compose()["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is (name != "vllm"), name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert "privileged" not in service
        assert "cap_add" not in service


def test_images_are_pinned() -> None:
    """Every image that is not built here has an exact version and a digest."""
    images = [service["image"] for service in compose()["services"].values() if "build" not in service]
    images += re.findall(r"^ARG PYTHON=(.*)$", (COMPOSE / "Dockerfile").read_text(encoding="utf-8"), re.M)
    assert len(images) == 7
    for image in images:
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+[a-z-]*@sha256:[0-9a-f]{64}", image), image


def test_passwords_are_nowhere_in_the_files() -> None:
    """compose takes Redis's password from .env and refuses to start without it."""
    text = (COMPOSE / "compose.yaml").read_text(encoding="utf-8")
    required = "${REDIS_PASSWORD:?set REDIS_PASSWORD in compose/.env}"
    assert set(re.findall(r"\$\{REDIS_PASSWORD[^}]*\}", text)) == {required}
    assert "REDIS_PASSWORD=\n" in (COMPOSE / "example.env").read_text(encoding="utf-8")


def test_redis_starts_with_a_password_and_keeps_logs(tmp_path: Path) -> None:
    """redis.sh starts a server that needs the password, writes an append-only file and evicts nothing."""
    (tmp_path / "valkey-server").symlink_to(find_server(tmp_path / "none").path)
    socket_path = tmp_path / "r.sock"
    text = (COMPOSE / "redis.sh").read_text(encoding="utf-8")
    assert "\ndir /data\n" in text
    text = text.replace("\ndir /data\n", f"\ndir {tmp_path}\nport 0\nunixsocket {socket_path}\n")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "REDISCLI_AUTH": "s3cret"}
    server = Process("redis", ["sh", "-c", text], environment, tmp_path)
    server.start()
    try:
        wait_for(socket_path.exists, "the server listens")
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(socket_path))
            stranger.sendall(b"PING\r\n")
            assert stranger.recv(100).startswith(b"-NOAUTH ")
        with closing(redis.Redis(unix_socket_path=str(socket_path), password="s3cret")) as known:
            names = ("appendonly", "appendfsync", "maxmemory-policy", "maxmemory")
            assert known.config_get(*names) == dict(
                zip(names, ("yes", "everysec", "noeviction", str(2**30)), strict=True)
            )
        assert server.stop() == 0
    finally:
        server.close()


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
    """nginx's limits, one for files and batches, are above Spool's own, so that the answer is Spool's."""
    found = re.findall(r"client_max_body_size (\d+)m;", (COMPOSE / "nginx.conf").read_text(encoding="utf-8"))
    settings, (bodies, files) = WebSettings.read({}), found
    assert int(bodies) * 2**20 > settings.max_body_bytes
    assert int(files) * 2**20 > settings.max_file_bytes


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


Start = Callable[..., int]


@pytest.fixture
def nginx(start_nginx: Callable[..., Nginx]) -> Start:
    """``nginx(web1, web2)`` starts one that soon takes a silent web for dead; gives its plain port."""
    quick = {"proxy_read_timeout 5s;": "proxy_read_timeout 1s;"}
    return lambda web1, web2: start_nginx(web1, web2, **quick).port


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
def test_nginx_compresses_documents_and_no_streams(nginx: Start, upstream: Callable[..., Upstream]) -> None:
    """JSON and pages are compressed for clients that accept it; the media types of streams never are."""
    documents = ["application/json", "application/problem+json", "text/html; charset=utf-8", "text/javascript"]
    streams = ["text/event-stream; charset=utf-8", "application/x-ndjson", "text/plain; charset=utf-8"]

    def answer(_self: Upstream, head: str, connection: socket.socket) -> None:
        media_type = [*documents, *streams][int(head.split()[1].removeprefix("/"))]
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + b" " * 5000)

    port = nginx(*[upstream(answer).port] * 2)
    compressed = []
    for number, media_type in enumerate([*documents, *streams]):
        with ask(port, f"GET /{number} HTTP/1.1\nHost: localhost\nAccept-Encoding: gzip\n\n") as reader:
            if b"\r\ncontent-encoding: gzip\r\n" in read_until(reader, b"\r\n\r\n").lower():
                compressed.append(media_type)
    assert compressed == documents


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
@pytest.mark.slow  # `make faults`
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
