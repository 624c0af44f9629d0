"""The transport beside httpx2's own, against a server that sends what a test says, byte for byte; also under gevent."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest

from tests.scripted_upstream import wait_until
from worker.backends.openai.transport import UpstreamTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nHello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

Part = bytes | Callable[[socket.socket], object]


def close(sock: socket.socket) -> None:
    """The connection's end."""
    sock.shutdown(socket.SHUT_RDWR)


def reset(sock: socket.socket) -> None:
    """The connection's end, as a crash makes it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def await_close(sock: socket.socket) -> None:
    """Nothing more, until the client hangs up."""
    sock.recv(1)


class Server:
    """Answers its requests, over all connections, with ``answers``; the last one is repeated. An answer is a list of
    writes and acts. ``requests``: what came, each with its connection's number; ``gone``: connections that ended."""

    def __init__(self, *answers: Sequence[Part], tls: ssl.SSLContext | None = None, reads_bodies: bool = True) -> None:
        self._answers = [*answers]
        self._tls = tls
        self._reads_bodies = reads_bodies
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/v1"
        self.requests: list[tuple[int, bytes]] = []
        self.gone: list[int] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            threading.Thread(target=self._serve, args=(number, sock), daemon=True).start()

    def _serve(self, number: int, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._tls.wrap_socket(sock, server_side=True) if self._tls else sock as stream:
                while raw := self._request(stream):
                    self.requests.append((number, raw))
                    for part in self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]:
                        stream.sendall(part) if isinstance(part, bytes) else part(stream)
        except OSError:
            pass  # the client hung up, or did not trust the certificate
        finally:
            self.gone.append(number)

    def _request(self, sock: socket.socket) -> bytes:
        raw = b""
        while b"\r\n\r\n" not in raw or (self._reads_bodies and _lacks(raw)):
            data = sock.recv(65536)
            if not data:
                return b""
            raw += data
        return raw


def _lacks(raw: bytes) -> bool:
    head, _, body = raw.partition(b"\r\n\r\n")
    if b"chunked" in head:
        return not body.endswith(b"0\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    return len(body) < int(length or 0)


Transport = Callable[[], httpx2.BaseTransport]


@pytest.fixture(params=[UpstreamTransport, httpx2.HTTPTransport])
def transport(request: pytest.FixtureRequest) -> Transport:
    """Ours, and the one that it stands in for."""
    return request.param


def client(transport: httpx2.BaseTransport, **timeouts: float) -> httpx2.Client:
    return httpx2.Client(transport=transport, timeout=httpx2.Timeout(**{"timeout": None, **timeouts}))


def post(transport: httpx2.BaseTransport, server: Server, content: bytes = b"hi") -> bytes:
    with client(transport) as one:
        return one.post(server.url, content=content).content


def one_by_one(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


BODIES = {
    "sized": [HELLO],
    "chunked": [CHUNKED, b"2\r\nHe\r\n", b"3;a=b\r\nllo\r\n0\r\n", b"A: b\r\n\r\n"],
    "until closed": [OK + b"\r\nHel", b"lo", close],
    "after interim answers": [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\n" + HELLO],
    "old": [b"HTTP/1.0 200 OK\r\n\r\nHello", close],
}


@pytest.mark.parametrize("splits", [False, True])
@pytest.mark.parametrize("parts", BODIES.values(), ids=BODIES)
def test_answer_is_read_to_its_end(transport: Transport, parts: list[Part], splits: bool) -> None:
    """Whatever says where it ends, and however the network splits it."""
    if splits:
        parts = [byte for part in parts for byte in (one_by_one(part) if isinstance(part, bytes) else [part])]
    with Server(parts) as server:
        assert post(transport(), server) == b"Hello"


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_answer_without_a_body_is_empty(transport: Transport, method: str) -> None:
    """HEAD has no body whatever the fields say, nor has 204."""
    status = b"200 OK" if method == "HEAD" else b"204 No Content"
    with Server([b"HTTP/1.1 %b\r\nContent-Length: 5\r\n\r\n" % status]) as server, client(transport()) as one:
        assert one.request(method, server.url).content == b""


def test_answer_keeps_status_fields_and_version(transport: Transport) -> None:
    """As httpx2 shows them."""
    raw = b"HTTP/1.0 418 I'm a teapot\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n"
    with Server([raw, close]) as server, client(transport()) as one:
        answer = one.get(server.url)
    assert (answer.status_code, answer.reason_phrase, answer.http_version) == (418, "I'm a teapot", "HTTP/1.0")
    assert answer.headers.get_list("set-cookie") == ["a", "b"]


def test_answer_that_is_encoded_is_decoded_by_httpx2(transport: Transport) -> None:
    """Content codings are none of a transport's business."""
    packed = gzip.compress(b"Hello")
    raw = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with Server([raw + packed]) as server:
        assert post(transport(), server) == b"Hello"


def test_content_comes_before_its_end(transport: Transport) -> None:
    """A token is handed on while the server thinks about the next."""
    go_on = threading.Event()
    parts = [CHUNKED, b"2\r\nHe\r\n", lambda _: go_on.wait(60), b"3\r\nllo\r\n0\r\n\r\n"]
    with Server(parts) as server, client(transport()) as one, one.stream("POST", server.url) as answer:
        content = answer.iter_raw()
        assert next(content) == b"He"
        go_on.set()
        assert b"".join(content) == b"llo"


def test_content_that_comes_while_the_reader_is_busy_waits(transport: Transport) -> None:
    """Whoever reads may wait for something else between two pieces, and misses nothing."""
    done = threading.Event()
    chunks = b"".join(b"1\r\n%d\r\n" % (number % 10) for number in range(1000))
    parts = [CHUNKED, b"1\r\nx\r\n", chunks, b"0\r\n\r\n", lambda _: done.set()]
    with Server(parts) as server, client(transport()) as one, one.stream("POST", server.url) as answer:
        content = answer.iter_raw()
        first = next(content)
        assert done.wait(60)
        assert first + b"".join(content) == b"x" + b"0123456789" * 100


def test_many_answers_at_once_are_kept_apart(transport: Transport) -> None:
    """Each over a connection of its own, from any thread."""
    everybody = threading.Barrier(20)
    shared, contents = transport(), []

    def ask() -> None:
        contents.append(one.post(server.url).content)

    with Server([CHUNKED, lambda _: everybody.wait(60), b"5\r\nHello\r\n0\r\n\r\n"]) as server, client(shared) as one:
        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert contents == [b"Hello"] * 20


# Requests


@pytest.mark.parametrize(
    "content", [lambda: None, lambda: b"", lambda: b"hi" * 300_000, lambda: iter([b"hello"])], ids=range(4)
)
def test_request_is_what_httpx2_would_send(content: Callable[[], Any]) -> None:
    """Line, fields and content, with a length or chunked, to the byte."""
    with Server([HELLO]) as server:
        for transport in (UpstreamTransport(), httpx2.HTTPTransport()):
            with client(transport) as one:
                one.post(f"{server.url}/a%20b?c=d", headers={"X-Key": "k"}, content=content())
    (_, ours), (_, theirs) = server.requests
    assert ours == theirs


def test_request_with_an_illegal_field_is_not_sent(transport: Transport) -> None:
    """A key with a newline, as read from a file."""
    with Server([HELLO]) as server, client(transport()) as one:
        with pytest.raises(httpx2.LocalProtocolError):
            one.get(server.url, headers={"X-Key": "secret\n"})
        assert not server.requests


def test_request_that_is_refused_before_it_was_read_is_answered(transport: Transport) -> None:
    """What a server says as it hangs up in the middle of a large request is the answer."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
    with Server([refusal, socket.socket.close], reads_bodies=False) as server, client(transport()) as one:
        assert one.post(server.url, content=b"x" * 5_000_000).status_code == 413


# Errors

ERRORS: dict[str, tuple[list[Part], type[Exception]]] = {
    "hangs up": ([close], httpx2.RemoteProtocolError),
    "hangs up in the head": ([OK, close], httpx2.RemoteProtocolError),
    "hangs up in a sized body": ([HELLO[:-1], close], httpx2.RemoteProtocolError),
    "hangs up in a chunk": ([CHUNKED, b"5\r\nHe", close], httpx2.RemoteProtocolError),
    "hangs up between chunks": ([CHUNKED, b"2\r\nHe\r\n", close], httpx2.RemoteProtocolError),
    "resets": ([reset], httpx2.ReadError),
    "resets in the body": ([CHUNKED, b"2\r\nHe\r\n", reset], httpx2.ReadError),
    "is silent": ([await_close], httpx2.ReadTimeout),
    "is silent in the body": ([CHUNKED, b"2\r\nHe\r\n", await_close], httpx2.ReadTimeout),
    "speaks something else": ([b"SSH-2.0\r\n\r\n", close], httpx2.RemoteProtocolError),
    "has no chunks": ([CHUNKED, b"Hello\r\n"], httpx2.RemoteProtocolError),
    "has endless fields": ([OK, b"A: b\r\n" * 50_000], httpx2.RemoteProtocolError),
}


@pytest.mark.parametrize(("parts", "error"), ERRORS.values(), ids=ERRORS)
def test_server_that_fails_is_told_in_httpx2s_words(
    transport: Transport, parts: list[Part], error: type[Exception]
) -> None:
    """The same exception from either transport, and the connection is closed."""
    with Server(parts) as server, client(transport(), read=0.3) as one:
        with pytest.raises(error) as caught:
            one.post(server.url)
        assert type(caught.value) is error
        wait_until(lambda: server.gone, "the connection's end")


def test_server_that_is_not_there_is_told(transport: Transport) -> None:
    """Connection refused."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with client(transport()) as one, pytest.raises(httpx2.ConnectError):
        one.get(f"http://127.0.0.1:{port}")


def test_server_that_does_not_shake_hands_is_told(transport: Transport) -> None:
    """Connecting with TLS is bounded as a whole."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with client(transport(), connect=0.2) as one, pytest.raises(httpx2.ConnectTimeout):
            one.get(url)


def test_server_that_takes_nothing_is_told(transport: Transport) -> None:
    """A request that does not go out is bounded."""
    told, content = threading.Event(), b"x" * 50_000_000
    with Server([lambda _: told.wait(60), reset], reads_bodies=False) as server:
        with client(transport(), write=0.2) as one, pytest.raises(httpx2.WriteTimeout):
            one.post(server.url, content=content)
        told.set()


def test_scheme_that_is_not_http_is_told(transport: Transport) -> None:
    """Before anything is opened."""
    with client(transport()) as one, pytest.raises(httpx2.UnsupportedProtocol):
        one.get("ftp://127.0.0.1/")


# Connections


def ask_twice(transport: httpx2.BaseTransport, server: Server) -> list[int]:
    """The numbers of the connections over which two requests went."""
    with client(transport) as one:
        for _ in range(2):
            one.post(server.url).read()
    return [number for number, _ in server.requests]


@pytest.mark.parametrize("parts", [[HELLO], [CHUNKED, b"5\r\nHello\r\n0\r\n\r\n"]])
def test_connection_is_used_again_after_a_whole_answer(transport: Transport, parts: list[Part]) -> None:
    """Content-Length and chunked alike."""
    with Server(parts) as server:
        assert ask_twice(transport(), server) == [1, 1]


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["old", "says so"],
)
def test_connection_is_not_used_again_where_the_server_says_so(transport: Transport, raw: bytes) -> None:
    """By its version or in words."""
    with Server([raw]) as server:
        assert ask_twice(transport(), server) == [1, 2]


@pytest.mark.parametrize("raw", [HELLO + HELLO, CHUNKED + b"0\r\n\r\nHTTP", HELLO.replace(b"5", b"0")])
def test_connection_with_more_than_the_answer_is_not_used_again(raw: bytes) -> None:
    """What nobody asked for would be taken for the next answer; httpx2's own transport does."""
    with Server([raw]) as server:
        assert ask_twice(UpstreamTransport(), server) == [1, 2]


def test_connection_of_an_unfinished_answer_is_closed(transport: Transport) -> None:
    """The server stops as soon as nobody wants the rest."""
    with Server([CHUNKED, b"2\r\nHe\r\n", await_close]) as server, client(transport()) as one:
        with one.stream("POST", server.url) as answer:
            assert next(answer.iter_raw()) == b"He"
        wait_until(lambda: server.gone, "the connection's end")


def test_connection_that_the_server_closed_meanwhile_is_not_used(transport: Transport) -> None:
    """Idle connections are closed by either side; a request goes over a new one then."""
    with Server([HELLO, close], [HELLO]) as server, client(transport()) as one:
        one.post(server.url)
        wait_until(lambda: server.gone, "the connection's end")
        assert one.post(server.url).content == b"Hello"
    assert [number for number, _ in server.requests] == [1, 2]


def test_connection_that_dies_under_a_request_is_told(transport: Transport) -> None:
    """Nobody knows whether the prompt was taken: it is not sent twice."""
    with Server([HELLO], [close], [HELLO]) as server, client(transport()) as one:
        one.post(server.url)
        with pytest.raises(httpx2.RemoteProtocolError):
            one.post(server.url)
        assert len(server.requests) == 2


def test_connections_are_kept_for_a_while_and_few_of_them() -> None:
    """The newest, as many as were asked for; none for longer than was asked for, and none after the end."""
    with Server([HELLO]) as server:
        assert ask_twice(UpstreamTransport(keep_s=0), server) == [1, 2]
        assert ask_twice(UpstreamTransport(keep=0), server) == [1, 2, 3, 4]
        wait_until(lambda: len(server.gone) == 4, "the connections' end")
        with client(UpstreamTransport(keep=1)) as one:
            with one.stream("POST", server.url) as first, one.stream("POST", server.url) as second:
                first.read()
                second.read()
            wait_until(lambda: server.gone[4:] == [5], "the end of one of the two")
            one.post(server.url)
        assert server.requests[-1][0] == 6
        wait_until(lambda: 6 in server.gone, "the connection's end")


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of 127.0.0.1, which vouches for itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    names = ["-subj", "/CN=Spool test", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = [openssl, "req", "-x509", *key, "-days", "2", *names, "-keyout", str(path), "-out", str(path) + ".crt"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(str(path) + ".crt").read_text())
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_tls_with_a_trusted_certificate(
    transport: Transport, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE names whom to trust; the connection is used again."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    chunks = [CHUNKED, *(b"1\r\n%d\r\n" % number for number in range(10)), b"0\r\n\r\n"]
    with Server(chunks, tls=server_context(certificate)) as server, client(transport()) as one:
        for _ in range(2):
            assert one.post(server.url).content == b"0123456789"
    if transport is UpstreamTransport:  # the other one takes a session ticket for the connection's end
        assert [number for number, _ in server.requests] == [1, 1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls_with_another_certificate_is_no_connection(
    transport: Transport, certificate: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent to whom nobody vouches for, nor to whom it is vouched for under another name."""
    if host == "localhost":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Server([HELLO], tls=server_context(certificate)) as server, client(transport()) as one:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            one.post(f"https://{host}:{server.port}/")
        assert not server.requests


# The same under gevent

PATCHED = "from gevent import monkey; monkey.patch_all(); import pytest, sys; sys.exit(pytest.main(sys.argv[1:]))"


@pytest.mark.slow  # `make faults`; the tests of whole stacks use these sockets under gevent, too
@pytest.mark.skipif("SPOOL_TEST_PATCHED" in os.environ, reason="this is it")
def test_all_of_this_under_gevent() -> None:
    """The worker's sockets are gevent's."""
    options = ["-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "-k", "UpstreamTransport"]
    command = [sys.executable, "-c", PATCHED, *options, str(Path(__file__))]
    environment = {**os.environ, "SPOOL_TEST_PATCHED": "1"}
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
