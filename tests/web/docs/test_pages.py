"""The documentation at ``/docs``."""

from __future__ import annotations

import re

from tests.stack import Stack
from web.docs.library import pages


def test_each_page_is_served(open_web: Stack) -> None:
    """Each Markdown file is a page, which lists all pages and may load files of this server alone."""
    client = open_web.client()
    for name, page in pages().items():
        answer = client.get(f"/docs/{name}")
        assert answer.status_code == 200, name
        assert f'data-file="{page.file}"' in answer.text
        assert "script-src 'self'; style-src 'self'; img-src 'self'" in answer.headers["Content-Security-Policy"]
    assert set(re.findall(r'href="/docs/([^"]*)"', client.get("/docs").text)) == set(pages())


def test_markup_of_a_page_is_text(open_web: Stack) -> None:
    """A page's source is escaped, so that nothing in it is markup until the browser has cleaned it."""
    text = open_web.client().get("/docs/transports/sse").text
    assert '<pre class="source"># ' in text
    assert text.count("<script") == 1


def test_pictures_and_examples_are_served(open_web: Stack) -> None:
    """A picture has its type, and an example is text."""
    client = open_web.client()
    assert client.get("/docs/bench-idle.svg").headers["Content-Type"].startswith("image/svg+xml")
    assert client.get("/docs/transports/examples/sse.py").headers["Content-Type"].startswith("text/plain")


def test_other_files_are_unknown(open_web: Stack) -> None:
    """Nothing but the documentation can be read, whatever the path says."""
    client = open_web.client()
    for name in ("pyproject.toml", "../README.md", "..%2f..%2fpyproject.toml", "transports/examples", "transports/"):
        assert client.get(f"/docs/{name}").status_code == 404, name


def test_address_of_a_file_leads_to_its_page(open_web: Stack) -> None:
    """A link that ends in ``.md`` is sent on."""
    answer = open_web.client().get("/docs/transports/sse.md", follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/docs/transports/sse")
