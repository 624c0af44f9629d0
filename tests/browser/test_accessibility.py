"""Every page in its states (empty, busy, error), in every look and both languages, as axe-core judges it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import LOOKS, Jobs, Watched
from tests.stack import ROOT, Stack, running_stack

_AXE = ROOT / "tests" / "clients" / "js" / "node_modules" / "axe-core" / "axe.min.js"
KEYS = {"root": "an-administrator", "newcomer": "a-key-of-a-newcomer"}
_STATUS = "document.querySelector('#status').dataset.status"
_UNKNOWN_JOB = "j0-0123456789abcdef0123456789"


def violations(watched: Watched) -> list[str]:
    """What axe-core finds on the page."""
    if not _AXE.exists():
        pytest.skip("axe-core is not installed: make install-clients")
    # Not as a script of the page, whose policy forbids that.
    if not watched.page.evaluate("Boolean(window.axe)"):
        watched.page.evaluate(_AXE.read_text())
    found = watched.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"]]


def is_as_wide_as_the_window(watched: Watched) -> bool:
    """Whether nothing of the page is beside the window."""
    return bool(watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.fixture(scope="module")
def keyed(short_dir: Path) -> Iterator[Stack]:
    """A web and a worker that require a key."""
    directory = Path(tempfile.mkdtemp(dir=short_dir))
    keys = f"root:*+admin={KEYS['root']},newcomer={KEYS['newcomer']}"
    with running_stack(directory, webs=1, workers=1, API_KEYS=keys) as running:
        yield running


class Walk:
    """The console, led from state to state. ``found``: what is wrong, by state."""

    def __init__(self, watched: Watched, base: str) -> None:
        self.watched = watched
        self.page = watched.page
        self.base = base
        self.found: dict[str, list[str]] = {}

    def log_in(self, owner: str) -> None:
        """From now on this owner's session."""
        answer = self.page.request.post(
            f"{self.base}/session", data={"key": KEYS[owner]}, headers={"Origin": self.base}
        )
        assert answer.ok

    def open(self, hash_: str) -> None:
        """A page of the console, loaded again."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.base}/{hash_}")
        self.until("document.querySelector('#model option')", "the page has loaded")

    def until(self, expression: str, what: str) -> None:
        """Until an expression is true."""
        self.watched.until(expression, what)

    def until_said(self, selector: str) -> None:
        """Until this element says something."""
        self.until(f"document.querySelector({selector!r})?.textContent.trim()", f"{selector} says something")

    def look(self, state: str) -> None:
        """Judges the page as it is."""
        found = violations(self.watched)
        if not is_as_wide_as_the_window(self.watched):
            found.append("wider than the window")
        if found:
            self.found[state] = found

    def refuse(self, pattern: str, status: int = 503) -> None:
        """The server refuses these requests of the page."""
        problem = {"title": "Unavailable", "status": status, "detail": "Redis cannot be reached"}
        self.page.route(pattern, lambda route: route.fulfill(status=status, json=problem))

    def end(self) -> None:
        """Nothing was wrong, but for the refusals that the states are made of."""
        self.watched.complaints[:] = [text for text in self.watched.complaints if "Failed to load" not in text]
        assert self.found == {}


@pytest.fixture
def walk(looking: Watched, keyed: Stack) -> Iterator[Walk]:
    """The console of the server that requires a key."""
    made = Walk(looking, keyed.webs[0].url)
    yield made
    made.end()


@pytest.fixture
def their_jobs(keyed: Stack) -> Iterator[Jobs]:
    """Jobs of the administrator."""
    with keyed.client(headers={"Authorization": f"Bearer {KEYS['root']}"}) as client:
        yield Jobs(client)


def test_login(walk: Walk) -> None:
    """The form for a key, and its refusal of a wrong one."""
    walk.page.goto(walk.base)
    walk.until("!document.querySelector('#key-form').hidden", "it asks for a key")
    walk.look("login")
    walk.page.fill("#key", "wrong")
    walk.page.click("#key-form button")
    walk.until_said("#key-error")
    walk.look("login refused")


def test_playground(walk: Walk, their_jobs: Jobs) -> None:
    """The playground without a job, with a refused prompt, and with jobs in each state."""
    walk.log_in("newcomer")
    walk.open("#")
    walk.look("empty")
    walk.page.fill("#tokens", "-3")
    walk.page.click("#send")
    walk.until_said("#error-tokens")
    walk.look("refused prompt")
    walk.log_in("root")
    running = their_jobs.submit(tokens=3000, rate=30, reasoning=5)
    walk.open(f"#job={running}&via=sse&and=long")
    walk.until("document.querySelectorAll('.answer')[1]?.textContent.length > 20", "two readers read")
    walk.page.click("[data-part=cut] >> nth=0")
    walk.look("cut")
    walk.page.click("[data-part=hand-over] >> nth=0")
    walk.until("document.querySelector('#phone').open", "the code is shown")
    walk.look("code")
    walk.page.click("#phone-done")
    walk.until("document.querySelector('[data-part=connection]').dataset.connection === 'live'", "it is back")
    for box in ("#raw-log", "#curl-box"):
        walk.page.click(f"{box} summary")
    walk.look("busy")
    walk.page.click("[data-part=cancel] >> nth=0")
    walk.until(f"{_STATUS} === 'cancelled'", "it is cancelled")
    walk.look("cancelled")
    for status, params in {"succeeded": {"tokens": 200}, "failed": {"fail_after": 3}}.items():
        job = their_jobs.submit(rate=0, **params)
        their_jobs.ended(job)
        walk.open(f"#job={job}&via=sse&and=long")
        walk.until(f"{_STATUS} === '{status}'", f"it has {status}")
        walk.until("!document.querySelector('#comparison').hidden", "both readers have read it")
        walk.look(status)
    walk.open(f"#job={_UNKNOWN_JOB}")
    walk.until_said("#action-error")
    walk.look("unknown job")


def test_jobs(walk: Walk, their_jobs: Jobs) -> None:
    """The list of jobs: empty, with jobs that run and ended, with no match, and refused."""
    walk.log_in("newcomer")
    walk.open("#/jobs")
    walk.until_said("#jobs-note")
    walk.look("empty")
    walk.log_in("root")
    running = their_jobs.submit(tokens=600, rate=20)
    their_jobs.ended(their_jobs.submit(tokens=3, rate=0))
    walk.open("#/jobs")
    walk.until(f"document.querySelector('[data-job=\"{running}\"] [data-status=running]')", "a job runs")
    walk.look("busy")
    walk.page.fill("#filter-tag", "no=such")
    walk.until_said("#jobs-note")
    walk.look("no match")
    walk.refuse("**/jobs?*limit=50*")
    walk.page.fill("#filter-tag", "")
    walk.until("document.querySelector('#jobs-note').textContent.includes('Redis')", "the refusal is shown")
    walk.look("error")


def _lines(walk: Walk, directory: Path, *lines: str) -> None:
    file = directory / "lines.jsonl"
    file.write_text("\n".join(lines))
    walk.page.set_input_files("#batch-file", str(file))


def test_batches(walk: Walk, directory: Path) -> None:
    """Batches: none, a refused file, one that runs, one with failures and its deletion, an unknown one."""
    walk.log_in("newcomer")
    walk.open("#/batches")
    walk.until("!document.querySelector('#batches-empty').hidden", "there are none")
    walk.look("empty")
    walk.log_in("root")
    walk.open("#/batches")
    _lines(walk, directory, '{"prompt": 3}')
    walk.until_said("#batch-errors")
    walk.look("refused file")
    _lines(walk, directory, *['{"prompt": "x", "params": {"rate": 5}}'] * 60)
    walk.until("!document.querySelector('#batch-pause').hidden && location.hash.length > 12", "the batch runs")
    walk.look("busy")
    walk.page.click("#batch-cancel")
    walk.until("document.querySelector('#batch-cancel').hidden", "it is cancelled")
    _lines(walk, directory, *['{"prompt": "x", "params": {"rate": 0, "fail_after": 1}}'] * 3)
    walk.until("document.querySelectorAll('#batch-failures li').length === 3", "the failures are shown")
    walk.look("failures")
    walk.page.click("#batch-delete")
    walk.look("question")
    walk.open("#/batches/b0-0123456789abcdef0123456789")
    walk.until_said("#batch-failure")
    walk.look("unknown batch")


def _large(route: Any) -> None:
    more = ('spool_redis_memory_bytes{what="max"} 5e11', 'spool_worker_slots{state="all"} 123456')
    route.fulfill(body="\n".join((route.fetch().text().rstrip(), *more, "")))


def test_system(walk: Walk, their_jobs: Jobs) -> None:
    """The system for a key without metrics, for an administrator while a job runs, and while it does not answer."""
    walk.log_in("newcomer")
    walk.refuse("**/metrics", 403)
    walk.open("#/system")
    walk.until_said("#metrics-note")
    walk.look("without metrics")
    walk.page.unroute("**/metrics")
    walk.log_in("root")
    their_jobs.submit(tokens=300, rate=20)
    walk.open("#/system")
    walk.until("document.querySelectorAll('#system-tiles .tile').length", "the figures are there")
    walk.look("busy")
    walk.page.route("**/metrics", _large)
    walk.until("document.querySelector('#system-tiles').textContent.includes('GiB')", "the figures are large")
    tiles = "[...document.querySelectorAll('.tile dd')]"
    assert walk.page.evaluate(f"{tiles}.filter((one) => one.scrollWidth > one.clientWidth).length") == 0
    assert walk.page.inner_text("#model-rows th").split()[0] == "demo"
    walk.refuse("**/version")
    walk.until("document.querySelector('#system-state').dataset.ok === 'false'", "it says so")
    walk.look("error")
    walk.page.unroute_all()


def test_usage(walk: Walk, their_jobs: Jobs) -> None:
    """Usage: none, some, and refused."""
    walk.log_in("newcomer")
    walk.open("#/usage")
    walk.until_said("#usage-note")
    walk.look("empty")
    walk.log_in("root")
    their_jobs.ended(their_jobs.submit(tokens=3, rate=0))
    walk.open("#/usage")
    walk.until("document.querySelector('#usage-chart rect')", "a bar is drawn")
    walk.look("busy")
    walk.refuse("**/usage?*")
    walk.page.select_option("#usage-days", "7")
    walk.until_said("#usage-error")
    walk.look("error")


def test_keys(walk: Walk) -> None:
    """Keys: for another than an administrator, a refused draft, a created key and its revocation."""
    walk.log_in("newcomer")
    walk.open("#/keys")
    walk.until_said("#keys-error")
    walk.look("forbidden")
    walk.log_in("root")
    walk.open("#/keys")
    walk.page.fill("#key-owner", "two words")
    walk.page.click("#create-key")
    walk.until_said("#new-key-error")
    walk.look("refused draft")
    walk.page.fill("#key-owner", "alice")
    walk.page.click("#create-key")
    walk.until_said("#created-key")
    walk.until("document.querySelector('#key-rows button')", "the key is listed")
    walk.look("created")
    walk.page.click("#key-rows button")
    walk.until("document.querySelector('#revoke').open", "it asks")
    walk.look("question")


def test_handed_over(walk: Walk, their_jobs: Jobs, keyed: Stack) -> None:
    """The page of an answer on another device: without a link, while it grows, at its end, and after the link's end."""
    walk.page.goto(f"{walk.base}/read")
    walk.until_said("#placeholder")
    walk.look("incomplete")
    for status, params in {
        "running": {"tokens": 600, "rate": 30, "reasoning": 5},
        "failed": {"fail_after": 30},
    }.items():
        job = their_jobs.submit(**params)
        with keyed.client(headers={"Authorization": f"Bearer {KEYS['root']}"}) as client:
            token = client.post("/tokens", json={"scope": {"job": job}}).json()["token"]
        _read(walk, job, token)
        walk.until_said("#answer")
        walk.until(f"{_STATUS} === '{status}'", f"it is {status}")
        walk.look(status)
    _read(walk, job, "spool-bt-x")
    walk.until_said("#failure")
    walk.look("ended")


def _read(walk: Walk, job: str, token: str) -> None:
    walk.page.goto("about:blank")
    walk.page.goto(f"{walk.base}/read#job={job}&token={token}&place=3")


@pytest.mark.parametrize("looking", [name for name in LOOKS if "chinese" not in name], indirect=True)
def test_documentation(looking: Watched, stack: Stack) -> None:
    """Every page of the documentation, which has no second language of its own."""
    base = stack.webs[0].url
    looking.page.goto(f"{base}/docs")
    paths = looking.page.eval_on_selector_all("#pages a", "all => all.map((one) => one.getAttribute('href'))")
    assert len(paths) > 20
    found: dict[str, Any] = {}
    for path in paths:
        looking.page.goto(f"{base}{path}")
        looking.until("!document.querySelector('.source')", "the page is drawn")
        wrong = violations(looking)
        if wrong or not is_as_wide_as_the_window(looking):
            found[path] = wrong or "wider than the window"
    assert found == {}
