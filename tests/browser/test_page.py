"""The playground at ``/``: it streams, survives what it shows off, and says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Jobs, Watched, forgive_lost_connections
from tests.browser.cutting_proxy import CuttingProxy
from tests.stack import Stack, running_stack, wait_for

TRANSPORTS = ["sse", "ndjson", "websocket", "long", "short"]


def _number(name: str) -> str:
    return f"Number((document.querySelector('[data-part={name}]')?.textContent ?? '0').replaceAll(',', ''))"


class Page:
    """The page, as its user sees it."""

    def __init__(self, watched: Watched, base_url: str, job: str = "", transport: str = "sse") -> None:
        self.watched = watched
        self.page = watched.page
        self.page.goto(f"{base_url}/#job={job}&via={transport}" if job else base_url)
        watched.until("document.querySelector('#model option')", "the models are there")

    def until_status(self, status: str) -> None:
        """Until the job stands so."""
        self.watched.until(f"document.querySelector('#status').dataset.status === '{status}'", f"it is {status}")

    def until_connection(self, state: str, reader: int = 0) -> None:
        """Until the reader's connection stands so: live, stopped (cut), waiting, ended, refused."""
        connection = f"document.querySelectorAll('[data-part=connection]')[{reader}]?.dataset.connection"
        self.watched.until(f"{connection} === '{state}'", f"it is {state}")

    def part(self, name: str, reader: int = 0) -> Any:
        """A part of a reader."""
        return self.page.locator(f".pane [data-part={name}]").nth(reader)

    def choose(self, transport: str, reader: int = 0) -> None:
        """Another transport."""
        self.part("transport", reader).select_option(transport)

    def until_entry(self, number: int) -> None:
        """Until so many entries have been read."""
        self.watched.until(f"{_number('last')} >= {number}", f"{number} entries")

    def until_text(self, length: int) -> None:
        """Until the answer is so long."""
        self.watched.until(f"document.querySelector('.answer')?.textContent.length >= {length}", f"{length} characters")

    def figure(self, name: str) -> int:
        """One of the first reader's numbers: last, reconnects, irregular."""
        return int(self.page.evaluate(_number(name)))

    @property
    def answer(self) -> str:
        """The answer's text."""
        return str(self.part("answer").text_content()).strip()

    @property
    def job(self) -> str:
        """The job that is open, as the address names it."""
        found = re.search(r"#job=([\w-]+)", self.page.url)
        assert found, self.page.url
        return found[1]

    def stretches(self) -> list[str]:
        """The transports that brought something, in order."""
        return list(self.page.eval_on_selector_all(".stretch", "all => all.map((one) => one.dataset.transport)"))

    def check_whole(self, job: dict[str, Any]) -> None:
        """It has shown everything, once."""
        self.until_status(job["status"])
        self.until_connection("ended")
        assert self.answer == job["text"].strip()
        assert self.figure("last") == job["last_entry"]
        assert self.figure("irregular") == 0


def test_page_when_a_prompt_is_sent(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """A newcomer presses Send: the answer grows as Markdown, and ends."""
    page = Page(watched, stack.webs[0].url)
    page.page.evaluate(
        "window.lengths = [];"
        "new MutationObserver(() => lengths.push(document.querySelector('.answer').textContent.length))"
        ".observe(document.querySelector('#panes'), {childList: true, subtree: true, characterData: true})"
    )
    page.page.fill("#rate", "60")
    page.page.click("#send")
    page.until_status("succeeded")
    assert page.page.inner_text(".answer h2") == "A demo answer"
    job = jobs.look(page.job)
    page.until_connection("ended")
    # It grew in many steps.
    assert len(set(page.page.evaluate("lengths"))) > 2
    assert page.figure("last") == job["last_entry"]
    assert page.figure("reconnects") == page.figure("irregular") == 0
    assert page.page.locator(".answer pre code").count() == 1
    assert page.page.locator(".answer table").count() == 1
    assert page.page.locator("#recent a[aria-current]").count() == 1


def test_page_when_reloaded_in_the_middle(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """A reload in the middle of an answer replays what was said, and goes on with the same job."""
    page = Page(watched, stack.webs[0].url, jobs.submit(tokens=800, rate=40))
    page.until_entry(40)
    page.page.reload()
    page.until_entry(41)
    page.check_whole(jobs.ended(page.job))


def test_page_on_another_web_instance(new_page: Callable[[], Watched], stack: Stack, jobs: Jobs) -> None:
    """The same address on two instances shows the same."""
    pages = [Page(new_page(), web.url, "") for web in stack.webs]
    job = jobs.submit(tokens=60, rate=60)
    for page, web in zip(pages, stack.webs, strict=True):
        page.page.goto(f"{web.url}/#job={job}")
    for page in pages:
        page.check_whole(jobs.ended(job))


def test_page_when_the_user_cuts_the_connection(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """The button really drops the reader, which comes back with the next entry; a screen reader is told of both."""
    page = Page(watched, stack.webs[0].url, jobs.submit(tokens=800, rate=40))
    page.page.evaluate(
        "window.said = [];"
        "new MutationObserver(() => said.push(document.querySelector('#announcer').textContent))"
        ".observe(document.querySelector('#announcer'), {childList: true})"
    )
    page.until_entry(30)
    page.part("cut").focus()
    page.page.keyboard.press("Enter")
    page.until_connection("stopped")
    cut_at = page.figure("last")
    page.until_connection("live")
    page.until_entry(cut_at + 1)
    assert page.figure("reconnects") == 1
    assert page.page.evaluate("document.activeElement.dataset.part") == "cut"
    page.check_whole(jobs.ended(page.job))
    assert page.stretches() == ["sse", "sse"]
    said = [text.partition(" after")[0] for text in page.page.evaluate("said") if "after entry" in text]
    assert said == ["Cut", "Reconnected. Continuing"]
    forgive_lost_connections(watched)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_page_when_the_network_cuts(watched: Watched, proxy: CuttingProxy, jobs: Jobs, transport: str) -> None:
    """Whatever the transport, a connection that breaks costs nothing."""
    page = Page(watched, proxy.url, jobs.submit(tokens=600, rate=40), transport)
    page.until_entry(30)
    assert proxy.cut() > 0
    page.check_whole(jobs.ended(page.job))
    assert set(page.stretches()) == {transport}
    forgive_lost_connections(watched)


def test_page_when_transports_change_in_the_middle(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """Five transports take turns on one answer: nothing twice, nothing missing."""
    page = Page(watched, stack.webs[0].url, jobs.submit(tokens=1200, rate=40))
    for transport in TRANSPORTS:
        page.choose(transport)
        watched.until(
            f"document.querySelector('.stretch:last-child')?.dataset.transport === '{transport}'",
            f"{transport} brought something",
        )
        page.until_entry(page.figure("last") + 20)
    page.choose("ndjson")
    page.check_whole(jobs.ended(page.job))
    # A connection that shows no life in time on a busy machine is followed by another of its kind.
    assert [name for name, _ in groupby(page.stretches())] == [*TRANSPORTS, "ndjson"]
    assert page.page.url.endswith("&via=ndjson")


def test_page_when_the_job_is_cancelled(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """Cancel ends the job, and what was said stays."""
    page = Page(watched, stack.webs[0].url, jobs.submit(tokens=1000, rate=30))
    page.until_text(40)
    page.part("cancel").focus()
    page.page.keyboard.press("Enter")
    page.until_status("cancelled")
    page.check_whole(jobs.ended(page.job))
    assert "Cancelled" in page.page.inner_text("#failure")
    assert page.part("cancel").is_hidden()
    assert page.page.evaluate("document.activeElement.dataset.part") == "transport"


def test_page_when_a_prompt_cannot_be_sent(watched: Watched, stack: Stack) -> None:
    """Without a network the page says that the prompt waits, and with it the prompt becomes one job."""
    page = Page(watched, stack.webs[0].url)
    page.page.context.set_offline(True)
    page.page.fill("#prompt", "only-once")
    page.page.fill("#rate", "0")
    page.page.click("#send")
    watched.until("document.querySelector('#error-form').textContent.includes('sent again')", "the wait is explained")
    page.page.context.set_offline(False)
    page.until_status("succeeded")
    assert page.page.inner_text("#error-form") == ""
    found = page.page.request.get(f"{stack.webs[0].url}/jobs?metadata=prompt%3Donly-once").json()["jobs"]
    assert [job["id"] for job in found] == [page.job]
    forgive_lost_connections(watched)


def test_page_when_the_job_fails(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """A failed job shows what it had said, and why it failed."""
    page = Page(watched, stack.webs[0].url)
    page.page.fill("#fail-after", "12")
    page.page.click("#send")
    page.until_status("failed")
    assert "failed after 12 tokens, as asked" in page.page.inner_text("#failure")
    assert "A demo answer" in page.answer
    assert jobs.look(page.job)["error"]["code"] == "demo_failure"


@pytest.mark.parametrize(
    ("field", "typed", "error", "said"),
    [
        ("prompt", "  ", "#error-prompt", "is empty"),
        ("tokens", "-3", "#error-tokens", "greater than or equal to 0"),
        ("rate", "fast", "#error-rate", "valid number"),
    ],
)
def test_page_when_the_input_is_wrong(
    watched: Watched, stack: Stack, field: str, typed: str, error: str, said: str
) -> None:
    """What the API refuses is said beside the field, in the API's words."""
    page = Page(watched, stack.webs[0].url)
    page.page.fill(f"#{field}", typed)
    page.page.click("#send")
    watched.until(f"document.querySelector('{error}').textContent.includes('{said}')", "the problem is shown")
    assert page.page.is_hidden("#job")
    assert len(watched.complaints) == 1
    assert "422" in watched.complaints.pop()


def test_page_when_an_answer_holds_html(watched: Watched, stack: Stack) -> None:
    """HTML in an answer is shown and not obeyed, and no link runs a script."""
    page = Page(watched, stack.webs[0].url)
    page.page.fill("#prompt", "<img src=x onerror=alert(1)> [a](javascript:alert(1)) ![b](http://192.0.2.1/b)")
    page.page.fill("#rate", "0")
    page.page.click("#send")
    page.until_status("succeeded")
    page.until_text(300)
    assert "<img src=x onerror=alert(1)>" in page.answer
    assert page.page.locator(".answer img").count() == 0
    assert page.page.locator(".answer [href^='javascript']").count() == 0


def test_page_while_the_job_is_queued(new_page: Callable[[], Watched], own_stack: Stack, own_jobs: Jobs) -> None:
    """A job that nobody runs yet is shown as queued, with its place and its reason, to a connected reader."""
    own_stack.workers[0].stop()
    page = Page(new_page(), own_stack.webs[0].url, own_jobs.submit(tokens=20, rate=40), "ndjson")
    page.until_status("queued")
    page.until_connection("live")
    detail = "document.querySelector('#job-detail').textContent"
    page.watched.until(f"{detail}.includes('next in the queue')", "its place in the queue is shown")
    why = "document.querySelector('.placeholder')?.textContent"
    page.watched.until(f"/turn|No worker/.test({why})", "the reason is shown")
    own_stack.workers[0].start()
    page.check_whole(own_jobs.ended(page.job))


@pytest.mark.parametrize("transport", ["sse", "ndjson", "websocket", "long"])
def test_page_when_the_web_dies(
    new_page: Callable[[], Watched], own_stack: Stack, own_jobs: Jobs, transport: str
) -> None:
    """A web that is killed and started again costs nothing, although for a while nobody listens there."""
    page = Page(new_page(), own_stack.webs[0].url, own_jobs.submit(tokens=600, rate=40), transport)
    page.until_entry(30)
    own_stack.webs[0].kill()
    page.until_connection("waiting")
    own_stack.webs[0].start()
    wait_for(own_stack.webs[0].is_ready, "the web is back", 30)
    page.check_whole(own_jobs.ended(page.job))
    assert page.figure("reconnects") >= 1
    forgive_lost_connections(page.watched)


def test_page_when_a_worker_dies(new_page: Callable[[], Watched], own_stack: Stack, own_jobs: Jobs) -> None:
    """The next attempt goes on in the same text, and the page says where."""
    page = Page(new_page(), own_stack.webs[0].url, own_jobs.submit(tokens=600, rate=40))
    page.until_entry(40)
    own_stack.workers[0].kill()
    own_stack.workers[0].start()
    page.check_whole(own_jobs.ended(page.job))
    assert "Attempt 2 continued" in page.page.inner_text("#notes")
    assert page.page.get_attribute(".block", "data-mark") == "attempt 2 continues here"


def test_page_for_a_job_that_is_not_there(watched: Watched, stack: Stack) -> None:
    """An address that names no job of yours says so, and stops asking."""
    page = Page(watched, stack.webs[0].url, "j0-0123456789abcdef0123456789")
    page.until_connection("refused")
    assert "no such job" in page.page.inner_text("#action-error")
    assert page.page.inner_text("#status") == "not available"
    assert page.part("cancel").is_hidden()
    assert all("404" in complaint for complaint in watched.complaints)
    watched.complaints.clear()


def test_page_where_a_key_is_needed(watched: Watched, directory: Path) -> None:
    """Without a session the page asks for a key, and keeps only the session that it gets for it."""
    with running_stack(directory, webs=1, workers=1, API_KEYS="ada=correct-horse") as stack:
        watched.page.goto(stack.webs[0].url)
        watched.until("!document.querySelector('#key-form').hidden", "it asks for a key")
        watched.page.fill("#key", "correct-horse")
        watched.page.click("#key-form button")
        watched.until("document.querySelector('#model option')", "the models are there")
        assert watched.page.is_hidden("#key-form")
        watched.page.click("#send")
        watched.until("document.querySelector('#status').dataset.status === 'succeeded'", "it succeeded")
        assert "correct-horse" not in watched.page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")
        assert "$SPOOL_KEY" in watched.page.text_content("#curl")
        # The page goes before its server does: a request of its own that is cut off then is no complaint.
        watched.page.goto("about:blank")
    assert all("401" in complaint for complaint in watched.complaints)
    watched.complaints.clear()


def test_page_with_two_readers(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """Two transports side by side, one of them cut: both end with the same entries, and the page says so."""
    page = Page(watched, stack.webs[0].url, jobs.submit(tokens=800, rate=40))
    page.until_entry(20)
    page.page.click("#second")
    page.until_connection("live", reader=1)
    page.part("cut").click()
    page.until_connection("stopped")
    jobs.ended(page.job)
    for reader in (0, 1):
        page.until_connection("ended", reader)
    watched.until("!document.querySelector('#comparison').hidden", "they are compared")
    assert page.page.get_attribute("#comparison", "data-same") == "true"
    assert page.part("answer", 0).text_content() == page.part("answer", 1).text_content()
    assert "&and=long" in page.page.url
    forgive_lost_connections(watched)


_NOTE_SHORTEST = """() => {
  window.shortest = Infinity;
  const length = () => document.querySelector('.answer').textContent.length;
  const note = () => { window.shortest = Math.min(window.shortest, length()); };
  new MutationObserver(note).observe(document.body, {childList: true, subtree: true, characterData: true});
}"""


def test_page_when_an_answer_is_played_again(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """The log's own times drive it, and at its end the answer stands whole."""
    page = Page(watched, stack.webs[0].url, jobs.submit(tokens=60, rate=40))
    job = jobs.ended(page.job)
    page.until_connection("ended")
    # An observer, because the beginning may be over before a busy machine looks at it.
    page.page.evaluate(_NOTE_SHORTEST)
    page.part("play-4").click()
    watched.until("window.shortest < 100", "it begins anew")
    watched.until("document.querySelector('[data-part=play-stop]').hidden", "it is over")
    assert page.answer == job["text"].strip()


def test_page_when_an_answer_is_replied_to(watched: Watched, stack: Stack, jobs: Jobs) -> None:
    """The next prompt goes on with the conversation of the answer."""
    page = Page(watched, stack.webs[0].url, jobs.submit(tokens=5, rate=0))
    first = page.job
    page.until_status("succeeded")
    page.page.click("#reply")
    assert page.page.inner_text("#continues-job") == first
    page.page.fill("#prompt", "And then?")
    page.page.fill("#tokens", "5")
    with page.page.expect_request(lambda request: request.method == "POST") as sent:
        page.page.click("#send")
    assert sent.value.post_data_json["continue_from"] == first
    watched.until(f"!location.hash.includes('{first}')", "the next job is open")
    page.until_status("succeeded")
    page.page.click("#again")
    watched.until("document.querySelectorAll('#recent li').length >= 3", "it was submitted again")
