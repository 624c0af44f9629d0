"""The system's Chromium, and pages in it that must not complain."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

from tests.browser.cutting_proxy import CuttingProxy
from tests.stack import Stack, running_stack, wait_for

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


_QUICK = ("test_event_source_after_a_cut", "test_page_when_a_prompt_is_sent", "test_vendored")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A few of these run with all tests; the rest takes minutes, and has `make browser`."""
    for item in items:
        if item.nodeid.startswith("tests/browser/") and not any(name in item.nodeid for name in _QUICK):
            item.add_marker(pytest.mark.slow)


class Watched:
    """A page, and what it complained of. A test takes from ``complaints`` what it expected."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.answers: list[tuple[int, str]] = []
        # Loading a page may take long on a busy machine.
        page.set_default_timeout(90_000)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("response", lambda response: self.answers.append((response.status, response.url)))

    def until(self, expression: str, what: str, within_s: float = 60.0) -> Any:
        """The first true value of a JavaScript expression; fails with what was awaited.

        Not playwright's ``wait_for_function``, which evaluates in the page, where its policy forbids that.
        """
        deadline = time.monotonic() + within_s
        while not (value := self.page.evaluate(expression)):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within_s:g} s: {what}\n{self.page.content()}")
            self.page.wait_for_timeout(20)
        return value

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.location["url"].endswith("/favicon.ico"):
            self.complaints.append(message.text)


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium. Without one, tests are skipped; where CI is set, they fail."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        _missing(f"none of {', '.join(_NAMES)} is on PATH")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed")
    with sync_playwright() as running:
        launched = running.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[[], Watched]]:
    """Makes pages with a storage of their own. At the end none of them may have complained."""
    pages: list[Watched] = []

    def make() -> Watched:
        pages.append(Watched(browser.new_context().new_page()))
        return pages[-1]

    yield make
    for watched in pages:
        watched.page.context.close()
    assert [complaint for watched in pages for complaint in watched.complaints] == []


@pytest.fixture
def watched(new_page: Callable[[], Watched]) -> Watched:
    """One page."""
    return new_page()


@pytest.fixture
def proxy(stack: Stack) -> Iterator[CuttingProxy]:
    """A proxy before the first web of the shared stack."""
    made = CuttingProxy(stack.webs[0].port)
    yield made
    made.close()


def forgive_lost_connections(watched: Watched) -> None:
    """A browser reports each connection that it lost; in some tests that is the point."""
    watched.complaints[:] = [text for text in watched.complaints if "net::ERR_" not in text]


class Jobs:
    """Submits jobs beside the page, and knows how they ended."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def submit(self, **params: Any) -> str:
        """A job of the demo; its text is time stamps, which look the same as Markdown and as text."""
        body = {"prompt": "count", "model": "demo", "params": {"stamp": True, **params}}
        answer = self._client.post("/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def look(self, job: str) -> dict[str, Any]:
        """The job."""
        return dict(self._client.get(f"/jobs/{job}").raise_for_status().json())

    def ended(self, job: str, within_s: float = 90.0) -> dict[str, Any]:
        """The job, once it has ended."""
        wait_for(lambda: self.look(job)["ended_at"], f"{job} has ended", within_s)
        return self.look(job)


@pytest.fixture
def jobs(stack: Stack) -> Iterator[Jobs]:
    """Jobs of the shared stack."""
    with stack.client() as client:
        yield Jobs(client)


@pytest.fixture
def own_stack(directory: Path) -> Iterator[Stack]:
    """A stack of the test's own, whose parts it may stop. Its Redis keeps an append-only file."""
    with running_stack(directory, webs=1, workers=1, aof=True) as running:
        yield running


@pytest.fixture
def own_jobs(own_stack: Stack) -> Iterator[Jobs]:
    """Jobs of that stack."""
    with own_stack.client() as client:
        yield Jobs(client)


LOOKS = {
    "light": ("light", 1280, "en-US"),
    "dark": ("dark", 1280, "en-US"),
    "phone": ("light", 390, "en-US"),
    "dark-phone": ("dark", 390, "en-US"),
    "chinese": ("light", 1280, "zh-CN"),
    "chinese-phone": ("dark", 390, "zh-CN"),
}


@pytest.fixture(params=LOOKS)
def looking(request: pytest.FixtureRequest, browser: Any) -> Iterator[Watched]:
    """A page of one look."""
    scheme, width, locale = LOOKS[request.param]
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 844}, locale=locale, reduced_motion="reduce"
    )
    watched = Watched(context.new_page())
    yield watched
    context.close()
    assert watched.complaints == []
