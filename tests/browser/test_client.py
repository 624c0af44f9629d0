"""The JavaScript client in a Chromium: what only a browser does to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser.conftest import Jobs, Watched, forgive_lost_connections
from tests.clients.http_proxy import STREAM, HttpProxy
from tests.stack import ROOT, Stack

HERE = ROOT / "tests" / "clients" / "js"
FAST = {"quietMs": 800, "lookMs": 800, "secondLookMs": 200, "firstBytesMs": 800, "requestMs": 2000}


@pytest.fixture
def site(stack: Stack) -> Iterator[HttpProxy]:
    """The first web of the shared stack, with the client and the test's pages under the same origin."""
    folders = {"client": ROOT / "clients" / "js", "pages": HERE / "pages", "modules": HERE / "node_modules"}
    made = HttpProxy(stack.webs[0].port, **folders, vendor=ROOT / "web" / "console" / "static" / "vendor")
    yield made
    made.close()


class Reader:
    """The page that follows one job."""

    def __init__(self, watched: Watched, site: HttpProxy, job: str, **options: Any) -> None:
        self.watched = watched
        self.page = watched.page
        self.page.goto(f"{site.url}/pages/follow.html#{quote(json.dumps({'job': job, 'options': options}))}")

    def until_entry(self, number: int, within_s: float = 30.0) -> int:
        """Until so many entries have been read; how many there are."""
        self.watched.until(f"window.view?.lastEntry >= {number}", f"{number} entries", within_s)
        return int(self.page.evaluate("window.view.lastEntry"))

    def until(self, connection: str, within_s: float = 30.0) -> None:
        """Until the connection stands so."""
        self.watched.until(f"window.follow?.view.connection === '{connection}'", f"it is {connection}", within_s)

    def check_whole(self, job: dict[str, Any]) -> None:
        """It shows the log's text, and no entry came twice."""
        self.until("ended")
        self.watched.until(f"window.view.status === '{job['status']}'", "the end is shown")
        assert self.page.text_content("#text") == job["text"]
        ids = self.page.evaluate("window.ids")
        assert ids == list(range(self.page.evaluate("window.begunAt") + 1, job["last_entry"] + 1))


def test_client_when_reloaded(watched: Watched, site: HttpProxy, jobs: Jobs) -> None:
    """After a reload the text is there at once, and only what is missing is read."""
    job = jobs.submit(tokens=200, rate=40)
    reader = Reader(watched, site, job)
    at = reader.until_entry(40)
    watched.page.reload()
    reader.until_entry(at + 1)
    assert watched.page.evaluate("window.begunAt") >= at
    assert any(f"/stream?after={number}" in site.requests_for(job)[-1] for number in range(at, at + 200))
    reader.check_whole(jobs.ended(job))


def test_client_when_offline_and_online(watched: Watched, site: HttpProxy, jobs: Jobs) -> None:
    """Offline is named, and the reader is back as soon as the browser is."""
    job = jobs.submit(tokens=400, rate=40)
    reader = Reader(watched, site, job, timing=FAST)
    at = reader.until_entry(30)
    watched.page.context.set_offline(True)
    site.cut()
    reader.until("offline")
    watched.page.context.set_offline(False)
    reader.until_entry(at + 40, within_s=5)
    reader.check_whole(jobs.ended(job))
    forgive_lost_connections(watched)


def test_client_when_frozen_and_thawed(watched: Watched, site: HttpProxy, jobs: Jobs) -> None:
    """A page that was frozen while its connection died is whole soon after it is thawed."""
    job = jobs.submit(tokens=200, rate=40)
    reader = Reader(watched, site, job, timing=FAST)
    reader.until_entry(30)
    session = watched.page.context.new_cdp_session(watched.page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    site.freeze()
    record = jobs.ended(job)
    session.send("Page.setWebLifecycleState", {"state": "active"})
    reader.check_whole(record)
    forgive_lost_connections(watched)


@pytest.mark.parametrize("is_blocked", [False, True])
def test_client_in_eight_tabs(watched: Watched, site: HttpProxy, jobs: Jobs, is_blocked: bool) -> None:
    """Eight tabs on one HTTP/1.1 host all make progress, also where WebSockets are not let through."""
    if is_blocked:
        site.refused = [r"/ws"]
    job = jobs.submit(tokens=600, rate=40)
    tabs = [watched] + [Watched(watched.page.context.new_page()) for _ in range(7)]
    readers = [Reader(tab, site, job) for tab in tabs]
    for reader in readers:
        reader.until_entry(5, within_s=15)
    used = [reader.page.evaluate("window.view.transport") for reader in readers]
    assert used.count("sse") == 4
    record = jobs.ended(job)
    for reader in readers:
        reader.check_whole(record)
    for tab in tabs[1:]:
        tab.page.close()
    watched.complaints.clear()


def test_client_through_a_blocked_stream(watched: Watched, site: HttpProxy, jobs: Jobs) -> None:
    """Where SSE is refused, a browser comes to the WebSocket, and begins with it the next time."""
    site.refused = [STREAM]
    jobs_read = [jobs.submit(tokens=40, rate=40) for _ in range(2)]
    for job in jobs_read:
        reader = Reader(watched, site, job)
        reader.check_whole(jobs.ended(job))
        watched.page.goto("about:blank")
    assert [path for path in site.requests_for(jobs_read[1]) if "/stream" in path] == []
    watched.complaints.clear()


def test_use_job_in_strict_mode(watched: Watched, site: HttpProxy, jobs: Jobs) -> None:
    """Two mounts of one job under StrictMode show the same whole text over one connection."""
    if not (HERE / "node_modules" / "react").is_dir():
        pytest.skip(f"React is missing: npm install --prefix {HERE} --no-package-lock --ignore-scripts")
    job = jobs.submit(tokens=80, rate=40)
    watched.page.goto(f"{site.url}/pages/react.html#{job}")
    watched.until("document.querySelector('#two')?.textContent.length > 20", "text is shown")
    record = jobs.ended(job)
    watched.until("['one', 'two'].every((name) => window.views[name].status === 'succeeded')", "both have ended")
    assert watched.page.text_content("#one") == watched.page.text_content("#two") == record["text"]
    assert watched.page.evaluate("window.views.one.lastEntry") == record["last_entry"]
    assert len([path for path in site.requests_for(job) if "/stream" in path]) == 1


Show = Callable[..., str]


@pytest.fixture
def show(watched: Watched, site: HttpProxy) -> Show:
    """Shows Markdown, and returns its HTML."""
    watched.page.goto(f"{site.url}/pages/markdown.html")
    watched.until("window.markdown", "the page is there")

    def shown(text: str, *, whole: bool = True) -> str:
        watched.page.evaluate("([text, whole]) => window.markdown.show(text, whole)", [text, whole])
        return str(watched.page.inner_html("#answer"))

    return shown


def test_markdown_keeps_what_is_meant(show: Show) -> None:
    """Task lists, numbers that do not begin at 1, and the alignment of tables survive the sanitiser."""
    html = show("- [x] done\n\ntext\n\n3. three\n\n| a |\n|--:|\n| 1 |\n\n```js\nx\n```\n")
    for expected in ('type="checkbox"', 'start="3"', 'align="right"', 'class="language-js"'):
        assert expected in html


def test_markdown_of_hostile_output_stays_text(watched: Watched, show: Show) -> None:
    """Scripts, handlers, frames, images and addresses that run code do nothing."""
    html = show(
        "<script>window.hacked = 1</script>\n\n<img src=x onerror='window.hacked = 1'>\n\n"
        "[a](javascript:window.hacked=1)\n\n"
        '![b](http://spy.example/x.png)\n\n<iframe src="data:text/html,x"></iframe>\n\n`<b onclick=1>`'
    )
    assert watched.page.evaluate("window.hacked") is None
    assert watched.page.evaluate("document.querySelectorAll('#answer :is(script, img, iframe, b)').length") == 0
    assert "javascript:" not in watched.page.eval_on_selector_all("#answer a", "all => all.map((a) => a.href).join()")
    assert "&lt;script&gt;" in html


def test_markdown_while_it_grows(watched: Watched, show: Show) -> None:
    """No half-open mark is shown raw at any moment, and a block of code is one from its first line on."""
    text = "## Title\n\nsome **bold** and [a link](http://x.example)\n\n"
    text += "```js\nconst a = 1;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    for end in range(1, len(text) + 1):
        show(text[:end], whole=False)
        seen = watched.page.text_content("#answer")
        assert not any(mark in seen for mark in ("**", "](", "```", "##", "|")), (text[:end], seen)
    assert watched.page.locator("#answer pre code").count() == watched.page.locator("#answer table").count() == 1
