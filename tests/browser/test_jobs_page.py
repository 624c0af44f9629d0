"""The jobs page: live by the server's events, filtered, and drawn over time."""

from __future__ import annotations

from tests.browser.conftest import Jobs, Watched
from tests.stack import Stack


def rows(watched: Watched) -> list[str]:
    """The ids of the jobs in the table."""
    found: list[str] = watched.page.evaluate(
        "[...document.querySelectorAll('#job-rows tr')].map(row => row.dataset.job)"
    )
    return found


def test_new_jobs_appear_without_a_poll(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """A job that is submitted elsewhere comes into the table and the time axis and changes its state there, while the
    page reads the list once; the focus stays on its row."""
    first = jobs.submit(tokens=1, rate=0)
    jobs.ended(first)
    lists: list[str] = []
    watched.page.on("request", lambda request: lists.append(request.url) if "/jobs?" in request.url else None)
    watched.page.goto(f"{stack.webs[0].url}/#/jobs")
    watched.until(f"document.querySelector('[data-job=\"{first}\"] a')", "the first job is there")
    watched.until("document.querySelector('#jobs-connection').dataset.connection === 'live'", "the page is live")
    watched.page.focus(f'#job-rows [data-job="{first}"] a')
    before = len([url for url in lists if "limit=50" in url])
    job = jobs.submit(tokens=1, rate=0)
    watched.until(
        f"document.querySelector('#job-rows [data-job=\"{job}\"] [data-status=succeeded]')", "its end is there"
    )
    watched.until(f"document.querySelector('#jobs-axis [data-job=\"{job}\"]')", "it is on the axis")
    assert len([url for url in lists if "limit=50" in url]) == before
    focused = watched.page.evaluate("document.activeElement.closest('tr').dataset.job")
    assert focused == first


def test_filters_are_in_the_address(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """Filters by state, metadata and time choose the rows, and a reload keeps them."""
    with stack.client() as client:
        tagged = client.post("/jobs", json={"prompt": "x", "metadata": {"team": "search"}, "params": {"tokens": 1}})
    job, other = tagged.json()["id"], jobs.submit(tokens=1, rate=0)
    jobs.ended(job)
    watched.page.goto(f"{stack.webs[0].url}/#/jobs")
    watched.until(f"document.querySelector('#job-rows [data-job=\"{other}\"]')", "all jobs are there")
    watched.page.fill("#filter-tag", "team=search")
    watched.page.select_option("#filter-since", "1h")
    watched.page.select_option("#filter-status", "succeeded")
    watched.until(f"document.querySelectorAll('#job-rows tr').length === 1 && {job!r}", "one job is left")
    watched.page.reload()
    watched.until("document.querySelectorAll('#job-rows tr').length === 1", "the filter is kept")
    assert rows(watched) == [job]
    assert watched.page.input_value("#filter-tag") == "team=search"
