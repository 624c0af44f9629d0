"""Every page of the console, light and dark, wide and as narrow as a phone, as axe-core judges it."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Jobs, Watched
from tests.stack import ROOT, Stack

_AXE = ROOT / "tests" / "clients" / "js" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = {
    "playground": "#",
    "jobs": "#/jobs",
    "batches": "#/batches",
    "system": "#/system",
    "usage": "#/usage",
}


def violations(watched: Watched) -> list[str]:
    """What axe-core finds on the page."""
    if not _AXE.exists():
        pytest.skip("axe-core is not installed: make install-clients")
    # Not as a script of the page, whose policy forbids that.
    watched.page.evaluate(_AXE.read_text())
    found = watched.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"]]


def is_as_wide_as_the_window(watched: Watched) -> bool:
    """Whether nothing of the page is beside the window."""
    return bool(watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_without_violations(looking: Watched, stack: Stack, jobs: Jobs, name: str) -> None:
    """No violation, and nothing that makes a reader scroll sideways."""
    jobs.ended(jobs.submit(tokens=3, rate=0))
    looking.page.goto(f"{stack.webs[0].url}/{PAGES[name]}")
    looking.until("document.querySelector('#model option')", "the models are there")
    if name == "jobs":
        looking.until("document.querySelector('#job-rows tr')", "the jobs are there")
    if name == "system":
        looking.until("document.querySelector('#conditions li')", "the conditions are there")
    assert violations(looking) == []
    assert is_as_wide_as_the_window(looking)


def test_an_open_job_without_violations(looking: Watched, stack: Stack, jobs: Jobs) -> None:
    """The same with an answer and two readers of it."""
    job = jobs.submit(rate=0, reasoning=5)
    looking.page.goto(f"{stack.webs[0].url}/#job={job}&via=sse&and=long")
    looking.until("!document.querySelector('#comparison').hidden", "both readers have read it")
    assert violations(looking) == []
    assert is_as_wide_as_the_window(looking)
