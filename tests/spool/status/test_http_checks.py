"""Checks over HTTP, against servers of their own."""

from __future__ import annotations

import itertools
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spool.models.model import Upstream
from spool.status.finding import Level
from spool.status.http_checks import check_stream, check_upstreams
from tests.tls import certificate


@contextmanager
def answering(
    status: int,
    body: bytes = b"",
    seen: list[tuple[str, str | None]] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """A server that answers everything with this, and notes path and ``api-key`` in ``seen``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if seen is not None:
                seen.append((self.path, self.headers.get("api-key")))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client may refuse the certificate
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "step_s", "level", "said"),
    [
        (200, 1.0, Level.OK, "as they come"),
        (200, 0.001, Level.ERROR, "buffers"),
        (401, 1.0, Level.WARNING, "was not tested: HTTP 401"),
    ],
    ids=["streams", "buffers", "refused"],
)
def test_stream(status: int, step_s: float, level: Level, said: str) -> None:
    """A stream of two seconds that arrives at once has been buffered."""
    ticks = itertools.count()
    with answering(status, b"data: x\n\n" * 8) as url:
        found = check_stream(url, "key", lambda: next(ticks) * step_s)
    assert (found.level, said in found.message) == (level, True)


def test_url_without_a_server() -> None:
    """It is an error, not a trace."""
    found = check_stream("http://127.0.0.1:1", "")
    assert (found.level, "refused" in found.message) == (Level.ERROR, True)


def test_stream_behind_an_unknown_certificate(tmp_path: Path) -> None:
    """The finding names the reason, and the variable that makes the certificate known."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path))
    with answering(200, tls=context) as url:
        found = check_stream(url.replace("http:", "https:"), "")
    assert (found.level, "self-signed" in found.message.replace(" ", "-")) == (Level.ERROR, True)
    assert "SSL_CERT_FILE" in found.remedy


@pytest.mark.parametrize(
    ("status", "level"), [(200, Level.OK), (401, Level.ERROR), (404, Level.WARNING)], ids=["good", "key", "path"]
)
def test_upstream(status: int, level: Level) -> None:
    """The finding says how the model server answers, and shows no key."""
    with answering(status) as url:
        (found,) = check_upstreams([Upstream(name="gpu", url=url, api_key="secret-key")])
    assert (found.level, "secret-key" in str(found)) == (level, False)


def test_upstream_at_azure() -> None:
    """Azure is asked at its own path and with its own header, as workers ask it."""
    seen: list[tuple[str, str | None]] = []
    with answering(200, seen=seen) as url:
        (found,) = check_upstreams([Upstream(name="cloud", url=url, api_key="secret-key", kind="azure")])
    assert (found.level, seen) == (Level.OK, [("/openai/models?api-version=2024-10-21", "secret-key")])


@pytest.mark.parametrize("url", ["http://me:secret@127.0.0.1:1", "http://me:secret@[", "http://me:secret@127.0.0.1:x"])
def test_password_in_the_url(url: str) -> None:
    """It is not shown, whatever is wrong with the URL."""
    found = check_stream(url, "")
    assert (found.level, "secret" in str(found)) == (Level.ERROR, False)
