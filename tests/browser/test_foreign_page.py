"""A page of another origin, which has no key, reads a job over EventSource and WebSocket by link and by token."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.conftest import Watched
from tests.stack import Stack, running_stack, wait_for

ALICE, ADMIN = "alice-secret-0123456789", "admin-secret-0123456789"
_LISTEN = """([name, url, protocols]) => {
    window.got = window.got || {};
    const got = (window.got[name] = { entries: [], state: "open", code: null, unavailable: 0 });
    if (protocols === null) {
        const source = new EventSource(url);
        const kinds = ["started", "token", "usage", "done", "failed", "cancelled"];
        for (const kind of kinds) source.addEventListener(kind, (event) => got.entries.push(JSON.parse(event.data)));
        source.addEventListener("unavailable", () => { got.unavailable += 1; });
        source.onerror = () => { if (source.readyState === EventSource.CLOSED) got.state = "closed"; };
    } else {
        const socket = new WebSocket(url.replace("http", "ws"), protocols);
        socket.onmessage = (event) => {
            const message = JSON.parse(event.data);
            if (message.kind) got.entries.push(message);
        };
        socket.onclose = (event) => { got.state = "closed"; got.code = event.code; };
    }
}"""


class _Blank(http.server.BaseHTTPRequestHandler):
    """Answers every request with an empty page."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title><link rel=icon href=data:,>")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The URL of a page of another origin."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Blank)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def keyed(short_dir: Path) -> Iterator[Stack]:
    """Two webs that ask for a key."""
    directory = short_dir / "keyed"
    directory.mkdir()
    keys = f"alice={ALICE},root:*+admin={ADMIN}"
    with running_stack(directory, webs=2, workers=1, API_KEYS=keys) as running:
        yield running


class Page:
    """A page of another origin, and what its readers got."""

    def __init__(self, watched: Watched, elsewhere: str) -> None:
        self.watched = watched
        watched.page.goto(elsewhere)

    def listen(self, name: str, url: str, protocols: list[str] | None = None) -> None:
        """Begin to read under this name: a WebSocket with ``protocols``, else an EventSource."""
        self.watched.page.evaluate(_LISTEN, [name, url, protocols])

    def until_closed(self, name: str) -> dict[str, Any]:
        """What the reader got, once its connection is closed for good."""
        self.watched.until(f'window.got["{name}"].state === "closed"', f"{name} is closed", 40)
        got: dict[str, Any] = self.watched.page.evaluate(f'window.got["{name}"]')
        return got

    def forgive(self) -> None:
        """The browser reports refused requests in its console."""
        self.watched.complaints.clear()


@pytest.fixture
def page(new_page: Callable[[], Watched], elsewhere: str) -> Page:
    """One page."""
    return Page(new_page(), elsewhere)


def submitted(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    """A job of some seconds."""
    params = {"tokens": 40, "rate": 20}
    document: dict[str, Any] = client.post("/jobs", json={"prompt": "x", "params": params, **fields}).json()
    return document


def test_foreign_page_reads_a_job_by_link_and_by_token(keyed: Stack, page: Page) -> None:
    """All four ways give every entry once and in order, on the second web, which made neither."""
    first, second = keyed.webs[0].url, keyed.webs[1].url
    with keyed.client(headers={"Authorization": f"Bearer {ALICE}"}) as alice:
        job = submitted(alice, links=True)
        token = alice.post("/tokens", json={"scope": {"job": job["id"]}}).json()
        page.listen("sse link", second + job["links"]["stream"])
        page.listen("ws link", second + job["links"]["ws"], ["spool.json"])
        page.listen("sse token", f"{second}/jobs/{job['id']}/stream?token={token['token']}")
        page.listen("ws token", f"{second}/jobs/{job['id']}/ws", ["spool.json", token["subprotocol"]])
        for name in ("sse link", "ws link", "sse token", "ws token"):
            entries = page.until_closed(name)["entries"]
            assert entries[-1]["kind"] == "done", name
            assert [entry["id"] for entry in entries] == list(range(1, len(entries) + 1)), name
        assert page.watched.page.evaluate("document.cookie") == ""
    page.forgive()
    printed = "".join(process.output.read_text() for process in keyed.webs)
    assert token["token"] not in printed
    assert job["links"]["stream"].partition("link=")[2] not in printed
    assert first


def test_foreign_page_with_a_bad_link(keyed: Stack, page: Page) -> None:
    """Forged, expired, of another job, replayed on another call: an EventSource stops, a WebSocket does not open."""
    url = keyed.webs[0].url
    with keyed.client(headers={"Authorization": f"Bearer {ALICE}"}) as alice:
        job, other = submitted(alice, links=True), submitted(alice)
        links = job["links"]
        query = links["stream"].partition("?")[2]
        short = alice.post(f"/jobs/{job['id']}/links", json={"ttl_s": 1}).json()
        wait_for(
            lambda: httpx.get(f"{url}{short['entries']}&wait=0").status_code == 401, "the link has expired", within_s=10
        )
        bad = {
            "forged": links["stream"][:-1] + ("A" if links["stream"][-1] != "A" else "B"),
            "expired": short["stream"],
            "foreign": f"/jobs/{other['id']}/stream?{query}",
            "no link": f"/jobs/{job['id']}/stream",
        }
        for name, path in bad.items():
            page.listen(name, url + path)
        page.listen("replayed", f"{url}/jobs/{job['id']}/ws?{query}", ["spool.json"])
        page.listen("expired socket", url + short["ws"], ["spool.json"])
        for name in (*bad, "replayed", "expired socket"):
            got = page.until_closed(name)
            assert got["entries"] == [], name
            assert got["code"] in (None, 1006), name
    page.forgive()


def test_revoked_key_ends_streams_on_both_webs(keyed: Stack, page: Page) -> None:
    """Within 5 s: the streams that its token opened in a browser, and its own on both webs."""
    with keyed.client(headers={"Authorization": f"Bearer {ADMIN}"}) as admin:
        key = admin.post("/admin/keys", json={"owner": "alice"}).json()
    header = {"Authorization": f"Bearer {key['key']}"}
    with keyed.client(headers=header) as client:
        job = submitted(client, params={"tokens": 600, "rate": 20})
        token = client.post("/tokens", json={"scope": {"job": job["id"]}}).json()
        for number, web in enumerate(keyed.webs):
            path = f"{web.url}/jobs/{job['id']}"
            page.listen(f"sse {number}", f"{path}/stream?token={token['token']}")
            page.listen(f"ws {number}", f"{path}/ws", ["spool.json", token["subprotocol"]])
        names = [f"{kind} {number}" for kind in ("sse", "ws") for number in range(2)]
        for name in names:
            page.watched.until(f'window.got["{name}"].entries.length > 0', f"{name} reads")
        own = [client.stream("GET", f"{web.url}/jobs/{job['id']}/stream") for web in keyed.webs]
        streams = [stream.__enter__() for stream in own]
        with keyed.client(headers={"Authorization": f"Bearer {ADMIN}"}) as admin:
            admin.post(f"/admin/keys/{key['id']}/revoke")
        began = time.monotonic()
        for stream in streams:
            assert b"event: unavailable" in stream.read()
        took_s = time.monotonic() - began
        for name in names:
            got = page.until_closed(name)
            assert got["code"] in (None, 4401), name
            assert got["entries"][-1]["kind"] != "done", name
        for stream in own:
            stream.__exit__(None, None, None)
    page.forgive()
    assert took_s < 5.0
