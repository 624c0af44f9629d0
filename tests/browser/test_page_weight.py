"""What a page weighs, and when it can be used. ``pytest -s`` prints the figures."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import Watched
from tests.stack import Stack

PAGES = {"/": "#model option", "/docs/overview": "main h1", "/read": "#placeholder:not(:empty)"}
_BYTES_AT_MOST = 600_000
_SLOWER = 4
"""How much slower a phone's processor is than this one (Chromium's preset for a mid-range phone)."""


@pytest.mark.parametrize("path", PAGES)
def test_weight_of_a_page(browser: Any, stack: Stack, path: str) -> None:
    """A page loads everything from its own server, and not more than half a megabyte, uncompressed. The time until its
    first control is there is printed, on this processor and on one like a phone's."""
    for slower in (1, _SLOWER):
        context = browser.new_context()
        watched = Watched(context.new_page())
        bodies: list[Any] = []
        watched.page.on("response", lambda answer, found=bodies: found.append(answer))
        context.new_cdp_session(watched.page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
        watched.page.goto(stack.webs[0].url + path)
        watched.until(f"document.querySelector('{PAGES[path]}')", "the page can be used")
        usable_ms = watched.page.evaluate("performance.now()")
        loaded = [answer for answer in bodies if answer.request.resource_type not in ("fetch", "xhr", "eventsource")]
        weight = sum(len(answer.body()) for answer in loaded)
        print(f"\n{path}, processor / {slower}: {len(loaded)} requests, {weight / 1000:.0f} KB, {usable_ms:.0f} ms")
        assert {urlsplit(answer.url).netloc for answer in bodies} == {urlsplit(stack.webs[0].url).netloc}
        assert weight < _BYTES_AT_MOST
        context.close()
