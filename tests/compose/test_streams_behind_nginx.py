"""Streams through a real nginx with compose's own configuration: TLS, HTTP/2, two webs behind it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.browser.conftest import Jobs
from tests.compose.curl import Arrivals, Client
from tests.compose.nginx import Nginx, needs_nginx
from tests.faults.measured import measured
from tests.stack import Stack, running_stack, wait_for

pytestmark = [needs_nginx, pytest.mark.slow]  # `make faults`

PAGE = (Path(__file__).parent / "tab.js").read_text(encoding="utf-8")
STREAMS = 20


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Two webs and a worker that trust the proxy."""
    with running_stack(tmp_path, webs=2, workers=1, TRUSTED_PROXIES="127.0.0.1", LEASE_S=10) as running:
        yield running


@pytest.fixture
def nginx(stack: Stack, start_nginx: Callable[..., Nginx]) -> Nginx:
    """nginx before both webs."""
    return start_nginx(stack.webs[0].port, stack.webs[1].port)


# -- gaps at the client like at the source ---------------------------------------------------------------------


def on_surfaces(client: Client) -> dict[str, Callable[[], Arrivals]]:
    """Readers of answers of the compatible surfaces, which submit and stream in one request."""
    hello = [{"role": "user", "content": "Tell me about spools."}]
    chat = {"id": "c1", "messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}]}
    sse = "text/event-stream"

    def read(path: str, token: bytes, body: dict[str, Any]) -> Callable[[], Arrivals]:
        return lambda: client.stream(path, sse, re.compile(token), {"model": "demo", "stream": True, **body})

    return {
        "/v1/chat/completions": read("/v1/chat/completions", rb'"content":"[^"]', {"messages": hello}),
        "/v1/responses": read("/v1/responses", rb'"type":"response.output_text.delta"', {"input": "Hello"}),
        "/v1/messages": read("/v1/messages", rb'"type":"text_delta"', {"messages": hello, "max_tokens": 500}),
        "/ai/chat": read("/ai/chat", rb'"type":"text-delta"', {**chat, "params": {"tokens": 60, "rate": 20}}),
    }


def on_transports(client: Client, submit: Callable[[], str]) -> dict[str, Callable[[], tuple[str, Arrivals]]]:
    """Readers of jobs, each with a job of its own."""

    def read(how: Callable[[str], Arrivals]) -> Callable[[], tuple[str, Arrivals]]:
        def run() -> tuple[str, Arrivals]:
            job = submit()
            return job, how(job)

        return run

    def stream(accept: str) -> Callable[[], tuple[str, Arrivals]]:
        return read(lambda job: client.stream(f"/jobs/{job}/stream", accept))

    return {
        "SSE": stream("text/event-stream"),
        "NDJSON": stream("application/x-ndjson"),
        "text": stream("text/plain"),
        "WebSocket": read(client.websocket),
        "long poll": read(client.long_polls),
    }


def check_arrivals(client: Client, row: str, job: str, arrivals: Arrivals) -> None:
    """Each token came soon after its entry was written, one by one over several seconds."""
    entries = client.document(f"/jobs/{job}/entries?after=0&wait=0&limit=1000")["entries"]
    written = [datetime.fromisoformat(entry["at"]).timestamp() for entry in entries if entry["kind"] == "token"]
    assert len(arrivals.came) == len(written), arrivals.text[-500:]
    assert written[-1] - written[0] > 2
    late_s = sorted(came - at for came, at in zip(arrivals.came, written, strict=True))
    gaps_s = [
        abs((arrivals.came[n] - arrivals.came[n - 1]) - (written[n] - written[n - 1])) for n in range(1, len(written))
    ]
    measured(
        f"behind nginx, TLS: {row}",
        tokens=len(written),
        late_p50_ms=round(median(late_s) * 1000, 1),
        late_max_ms=round(late_s[-1] * 1000, 1),
        gap_differs_max_ms=round(max(gaps_s) * 1000, 1),
    )
    # A buffer would keep them to the end: seconds. A long poll starts a curl, which takes a while on a busy machine.
    assert median(late_s) < 0.5
    assert late_s[-1] < 1


def test_every_transport_is_unbuffered(stack: Stack, nginx: Nginx) -> None:
    """On each transport and surface, tokens come one by one, neither held back nor compressed, over HTTP/2."""
    client, jobs = Client(nginx.tls_port, nginx.certificate), Jobs(stack.client(0))
    readers = on_transports(client, lambda: jobs.submit(tokens=60, rate=20, first_token_s=1))
    for row, surface in on_surfaces(client).items():
        readers[row] = lambda surface=surface: (lambda arrivals: (job_of(arrivals), arrivals))(surface())
    with ThreadPoolExecutor(len(readers)) as pool:
        done = {row: pool.submit(reader) for row, reader in readers.items()}
    for row, future in done.items():
        job, arrivals = future.result()
        if row != "WebSocket":
            assert arrivals.head.startswith(b"http/2 20"), (row, arrivals.head)
            assert b"content-encoding" not in arrivals.head, (row, arrivals.head)
        check_arrivals(client, row, job, arrivals)


def job_of(arrivals: Arrivals) -> str:
    """The job that a response names."""
    match = re.search(rb"x-spool-job: (\S+)", arrivals.head)
    assert match, arrivals.head
    return match[1].decode()


# -- one tab -----------------------------------------------------------------------------------------------------


class Tab:
    """One page with 20 EventSources and a WebSocket, each on a job of its own."""

    def __init__(self, page: Any, nginx: Nginx, jobs: Jobs, **params: Any) -> None:
        self._page = page
        self._jobs = jobs
        self.jobs = [jobs.submit(**params) for _ in range(STREAMS + 1)]
        page.goto(f"https://127.0.0.1:{nginx.tls_port}/static/icon.svg")
        page.evaluate(PAGE, self.jobs)
        self.until("readers.every((reader) => reader.entries.length > 0)", "every reader has entries")

    def until(self, expression: str, what: str) -> None:
        """Wait for a condition in the page."""

        def holds() -> bool:
            self._page.wait_for_timeout(20)
            return bool(self._page.evaluate(expression))

        wait_for(holds, what)

    def readers(self) -> list[dict[str, Any]]:
        """What each reader has seen."""
        return list(self._page.evaluate("readers.map(({ source, ...seen }) => seen)"))

    def check_complete(self) -> list[dict[str, Any]]:
        """Wait for the end: each reader had every entry of its job once, in order."""
        self.until("readers.every((reader) => reader.ended)", "every reader is at the end")
        readers = self.readers()
        for job, reader in zip(self.jobs, readers, strict=True):
            assert reader["entries"] == list(range(1, self._jobs.look(job)["last_entry"] + 1))
        return readers


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A tab that accepts the self-signed certificate."""
    context = browser.new_context(ignore_https_errors=True)
    yield context.new_page()
    context.close()


def test_twenty_streams_in_one_tab_while_a_web_is_killed(stack: Stack, nginx: Nginx, page: Any) -> None:
    """All 20 streams are open at once on one connection; those of a killed web resume within 3 s, without a loss."""
    tab = Tab(page, nginx, Jobs(stack.client(1)), tokens=150, rate=10)
    assert not any(reader["ended"] for reader in tab.readers())
    protocols = page.evaluate(
        "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
        ".map((entry) => entry.nextHopProtocol)"
    )
    assert "h2" in protocols
    assert set(protocols) <= {"h2", ""}, protocols
    killed = time.time()
    stack.webs[0].kill()
    readers = tab.check_complete()
    broken = [reader for reader in readers if reader["broke"]]
    resumed_s = [reader["resumed"] / 1000 - killed for reader in broken]
    measured(
        "behind nginx, 20 EventSources and a WebSocket in a tab over TLS, one of two webs killed",
        broken=len(broken),
        resumed_max_s=round(max(resumed_s), 2),
    )
    assert broken
    assert max(resumed_s) < 3


def test_reload_under_streams_breaks_none(stack: Stack, nginx: Nginx, page: Any) -> None:
    """After a reload, new requests go to a new process of nginx, and all streams of the old one go on to their ends."""
    tab = Tab(page, nginx, Jobs(stack.client(0)), tokens=80, rate=10)
    before = nginx.workers()
    nginx.reload()
    wait_for(lambda: len(nginx.workers() | before) > len(before), "a new process of nginx")
    assert before <= nginx.workers()
    assert Client(nginx.tls_port, nginx.certificate).document("/version")["version"]
    readers = tab.check_complete()
    assert [reader["opened"] for reader in readers] == [1] * (STREAMS + 1)
    assert not any(reader["broke"] for reader in readers)
    wait_for(lambda: not before & nginx.workers(), "the old process ends after its streams")
