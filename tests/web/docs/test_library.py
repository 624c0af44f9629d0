"""The files of the documentation."""

from __future__ import annotations

from tests.stack import ROOT
from web.docs.library import name_of, pages


def test_names_of_pages() -> None:
    """A page's address is short, and says where its file is."""
    assert [name_of(file) for file in ("README.md", "docs/queue.md", "docs/transports/README.md")] == [
        "overview",
        "queue",
        "transports",
    ]
    assert name_of("README.zh.md") == "overview-zh"
    assert name_of("clients/js/README.md") == "clients/js"


def test_each_file_of_the_folder_is_a_page() -> None:
    """No Markdown file of ``docs`` is left out, and each page has a title of its own."""
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    assert files <= {page.file for page in pages().values()}
    titles = [page.title for page in pages().values()]
    assert len(set(titles)) == len(titles)
