"""The console's pages for keys and usage, on a server that requires keys."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.browser.conftest import Watched
from tests.stack import Stack, running_stack

ADMIN, ALICE = "an-administrator", "a-key-of-alice"


@pytest.fixture(scope="module")
def keyed(short_dir: Path) -> Iterator[Stack]:
    """A web and a worker that require a key."""
    directory = Path(tempfile.mkdtemp(dir=short_dir))
    with running_stack(directory, webs=1, workers=1, API_KEYS=f"alice={ALICE},root:*+admin={ADMIN}") as running:
        yield running


def _log_in(watched: Watched, keyed: Stack, key: str, page: str) -> None:
    base = keyed.webs[0].url
    answer = watched.page.request.post(f"{base}/session", data={"key": key}, headers={"Origin": base})
    assert answer.ok
    watched.page.goto(f"{base}/#/{page}")
    watched.until("document.querySelector('#model option')", "the page has loaded")


def test_key_from_its_creation_to_its_revocation(watched: Watched, keyed: Stack) -> None:
    """A new key works, is shown until its reader leaves, and works no more once it is revoked on the page."""
    _log_in(watched, keyed, ADMIN, "keys")
    page = watched.page
    page.fill("#key-owner", "alice")
    page.fill("#key-name", "laptop")
    page.uncheck("#key-scopes [value=batches]")
    page.click("#create-key")
    watched.until("document.querySelector('#created-key').textContent", "the key is shown")
    key = page.text_content("#created-key")
    with keyed.client(headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.get("/jobs").status_code == 200
        assert client.get("/batches/none").status_code == 403
        page.click("#created-done")
        assert key not in page.content()
        page.click("#key-rows tr:has-text('laptop') button")
        page.click("#revoke-yes")
        watched.until("!document.querySelector('#key-rows').textContent.includes('laptop')", "the key is not listed")
        _until_refused(client, watched)
    page.check("#keys-ended")
    assert "revoked" in page.text_content("#key-rows tr:has-text('laptop')")


def _until_refused(client: httpx.Client, watched: Watched) -> None:
    for _ in range(200):
        if client.get("/jobs").status_code == 401:
            return
        watched.page.wait_for_timeout(50)
    raise AssertionError("the key is not refused")


def test_wrong_owner_is_named(watched: Watched, keyed: Stack) -> None:
    """A key that the server refuses leaves the form as it is, and the field with its reason in focus."""
    _log_in(watched, keyed, ADMIN, "keys")
    watched.page.fill("#key-owner", "two words")
    watched.page.click("#create-key")
    watched.until("document.querySelector('#new-key-error').textContent.startsWith('owner')", "the field is named")
    assert watched.page.evaluate("document.activeElement.id") == "key-owner"
    assert watched.page.input_value("#key-owner") == "two words"
    watched.complaints[:] = [text for text in watched.complaints if "422" not in text]


def test_keys_are_for_administrators(new_page: Callable[[], Watched], keyed: Stack) -> None:
    """Another key sees no link to the keys, and at their address the reason."""
    watched = new_page()
    _log_in(watched, keyed, ALICE, "keys")
    watched.until("document.querySelector('#keys-error').textContent.includes('admin')", "the reason is shown")
    assert watched.page.is_hidden("#keys-link")
    watched.complaints[:] = [text for text in watched.complaints if "403" not in text]


def test_usage_is_drawn(watched: Watched, keyed: Stack) -> None:
    """A day with usage has a bar, and its figures stand in the table."""
    with keyed.client(headers={"Authorization": f"Bearer {ALICE}"}) as client:
        job = client.post(
            "/jobs", json={"prompt": "hi", "params": {"tokens": 5, "rate": 0}}, headers={"Prefer": "wait=20"}
        )
        assert job.json()["status"] == "succeeded", job.text
    _log_in(watched, keyed, ALICE, "usage")
    watched.until("document.querySelector('#usage-chart rect')", "a bar is drawn")
    cells = watched.page.locator("#usage-rows tr:has-text('demo') td").all_text_contents()
    assert cells[1:3] == ["5", "1"]


def test_system_shows_what_runs(watched: Watched, keyed: Stack) -> None:
    """A running job is counted among all jobs and at its model, and an open stream at its transport."""
    with keyed.client(headers={"Authorization": f"Bearer {ALICE}"}) as client:
        job = client.post("/jobs", json={"prompt": "hi", "params": {"tokens": 4000, "rate": 10}}).json()["id"]
        with client.stream("GET", f"/jobs/{job}/stream"):
            _log_in(watched, keyed, ADMIN, "system")
            tile = "document.querySelector('#system-tiles .tile:nth-child({}) dd')?.textContent"
            watched.until(f"{tile.format(1)} === '1'", "one job runs")
            assert watched.page.evaluate(tile.format(4)) == "1"
            watched.until("document.querySelector('#streams').textContent === 'SSE1'", "the stream is shown")
            assert watched.page.locator("#model-rows td").all_text_contents()[1:3] == ["1", "0"]
        client.post(f"/jobs/{job}/cancel")
