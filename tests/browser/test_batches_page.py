"""The console's page for batches: from a dropped file to its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.browser.conftest import Watched, forgive_lost_connections
from tests.browser.cutting_proxy import CuttingProxy
from tests.stack import Stack

_STATE = "document.querySelector('#batch-state').textContent"
_DETAIL = "document.querySelector('#batch-detail').textContent"


def _line(n: int, **params: Any) -> str:
    return json.dumps({"prompt": f"line {n}", "params": {"tokens": 10, "rate": 0, **params}})


def _drop(watched: Watched, directory: Path, lines: list[str], name: str = "prompts.jsonl") -> None:
    file = directory / name
    file.write_text("\n".join(lines))
    watched.page.set_input_files("#batch-file", str(file))


def _open(watched: Watched, url: str) -> None:
    watched.page.goto(f"{url}/#/batches")
    watched.until("document.querySelector('#model option')", "the page has loaded")


def _saved(watched: Watched, selector: str) -> list[dict[str, Any]]:
    with watched.page.expect_download() as download:
        watched.page.click(selector)
    return [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]


def test_batch_from_its_file_to_its_results(watched: Watched, stack: Stack, directory: Path) -> None:
    """A dropped file runs to its end, its failure is shown with its line, and both downloads have their lines."""
    _open(watched, stack.webs[0].url)
    jobs = [_line(n, **({"fail_after": 2} if n == 4 else {})) for n in range(12)]
    _drop(watched, directory, ["", *jobs[:2], " ", *jobs[2:]])
    watched.until(f"{_STATE} === 'completed'", "the batch has ended")
    assert watched.page.evaluate(_DETAIL).startswith("12 of 12 lines ended")
    assert watched.page.locator("#batch-failures li").all_text_contents() == ["line 7 failed after 2 tokens, as asked"]
    results = _saved(watched, "#batch-download")
    assert sorted(job["batch_index"] for job in results) == list(range(12))
    assert [job["batch_index"] for job in _saved(watched, "#batch-save-failures")] == [4]


def test_failures_of_an_ended_batch_are_found(watched: Watched, stack: Stack) -> None:
    """A batch of another client is in the list, and its failures are shown when it is opened."""
    with stack.client() as client:
        batch = client.post("/batches", json=[json.loads(_line(n, fail_after=1)) for n in range(3)]).json()["id"]
    _open(watched, stack.webs[0].url)
    watched.until(f"document.querySelector('[data-batch=\"{batch}\"]')", "the batch is listed")
    watched.until(f"document.querySelector('[data-batch=\"{batch}\"]').textContent.includes('3 of 3')", "it has ended")
    watched.page.click(f"[data-batch='{batch}'] a")
    watched.until("document.querySelectorAll('#batch-failures li').length === 3", "the failures are shown")
    watched.page.click("#batch-retry")
    watched.until(f"location.hash.length > 12 && !location.hash.includes('{batch}')", "the new batch is opened")
    watched.until("document.querySelectorAll('#batch-failures li').length === 3", "the same lines have failed again")


def test_pause_resume_cancel_and_delete(watched: Watched, stack: Stack, directory: Path) -> None:
    """Each action shows its state, and a deleted batch is no longer listed."""
    _open(watched, stack.webs[0].url)
    _drop(watched, directory, [_line(n, rate=5) for n in range(400)])
    watched.until("!document.querySelector('#batch-pause').hidden && location.hash.length > 12", "the batch runs")
    batch = watched.page.evaluate("location.hash.split('/')[2]")
    watched.page.click("#batch-pause")
    watched.until(f"{_STATE} === 'paused'", "it is paused")
    watched.page.click("#batch-resume")
    watched.until(f"{_STATE} === 'in progress'", "it goes on")
    watched.page.click("#batch-cancel")
    watched.until(f"{_STATE} === 'cancelled'", "it is cancelled")
    watched.page.click("#batch-delete")
    watched.page.click("#batch-delete-yes")
    watched.until("location.hash === '#/batches'", "the page of the batch is left")
    watched.until(f"!document.querySelector('[data-batch=\"{batch}\"]')", "it is not listed")


def test_wrong_line_is_named_before_the_upload(watched: Watched, stack: Stack, directory: Path) -> None:
    """A file whose beginning cannot be jobs is not sent."""
    _open(watched, stack.webs[0].url)
    for lines, why in (
        ([_line(0), '{"prompt": '], "Line 2 is not JSON."),
        ([_line(0), _line(1), "3"], "Line 3 is not a JSON object."),
        (['{"custom_id": "a", "url": "/v1/responses", "body": {"input": "x"}}'], "Line 1 has the form of OpenAI"),
        ([" "], "The file is empty."),
    ):
        _drop(watched, directory, lines)
        watched.until(f"document.querySelector('#batch-error').textContent.startsWith({why!r})", why)
    assert [url for _status, url in watched.answers if "/batches?on_bad_line" in url] == []


def test_refused_job_is_named(watched: Watched, stack: Stack, directory: Path) -> None:
    """What the server refuses is shown with its place in the file."""
    _open(watched, stack.webs[0].url)
    _drop(watched, directory, [_line(0), "", '{"prompt": 3}'])
    watched.until("document.querySelector('#batch-errors li')", "the reason is shown")
    assert watched.page.text_content("#batch-errors li") == "line 3, prompt must be a valid string"
    watched.complaints[:] = [text for text in watched.complaints if "422" not in text]


def test_upload_that_is_cut_is_sent_again(watched: Watched, stack: Stack, directory: Path) -> None:
    """A lost upload is repeated under its key, and becomes one batch."""
    keys: list[str] = []

    def once(route: Any) -> None:
        keys.append(route.request.headers["idempotency-key"])
        route.abort() if len(keys) == 1 else route.continue_()

    _open(watched, stack.webs[0].url)
    watched.page.route("**/batches?on_bad_line=*", once)
    _drop(watched, directory, [_line(0)])
    watched.until(f"{_STATE} === 'completed'", "the batch has ended")
    assert len(keys) == 2
    assert len(set(keys)) == 1
    forgive_lost_connections(watched)


def test_stopped_upload(watched: Watched, stack: Stack, directory: Path) -> None:
    """A stop leaves the upload, and the next file can be dropped."""
    _open(watched, stack.webs[0].url)
    watched.page.route("**/batches?on_bad_line=*", lambda _route: None)
    _drop(watched, directory, [_line(0)])
    watched.page.click("#upload-stop")
    watched.until("!document.querySelector('#drop').hidden", "the next file can be dropped")
    watched.page.unroute("**/batches?on_bad_line=*")
    _drop(watched, directory, [_line(0)])
    watched.until(f"{_STATE} === 'completed'", "the next batch has ended")
    forgive_lost_connections(watched)


def test_progress_after_cuts(watched: Watched, proxy: CuttingProxy, directory: Path) -> None:
    """Lost connections cost the page no line: the counts reach the end."""
    _open(watched, proxy.url)
    _drop(watched, directory, [_line(n, rate=10) for n in range(120)])
    for ended in (10, 60):
        watched.until(f"parseInt({_DETAIL}) >= {ended}", f"{ended} lines have ended")
        proxy.cut()
    watched.until(f"{_STATE} === 'completed'", "the batch has ended")
    assert watched.page.locator("#batch-counts dd").all_text_contents() == ["120", "0", "0", "0", "0"]
    forgive_lost_connections(watched)
