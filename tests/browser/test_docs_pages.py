"""The documentation's pages as a browser draws them."""

from __future__ import annotations

from tests.browser.conftest import Watched
from tests.stack import Stack


def test_links_lead_somewhere(watched: Watched, stack: Stack) -> None:
    """Each link of the drawn transport page is answered, and its table of transports is a table."""
    watched.page.goto(f"{stack.webs[0].url}/docs/transports")
    watched.until("!document.querySelector('.source')", "the page is drawn")
    links = set(watched.page.eval_on_selector_all("a[href^='/']", "all => all.map((one) => one.href)"))
    assert f"{stack.webs[0].url}/docs/transports/sse" in links
    assert {watched.page.request.get(link).status for link in links} == {200}
    assert watched.page.locator("main table").count() >= 2
