"""The files of the documentation: Markdown pages, and the pictures and examples that they link to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
_INSTALLED = _HERE / "files"
_ROOT = _INSTALLED if _INSTALLED.is_dir() else _HERE.parents[1]
"""In the wheel beside this module, in a checkout where the files are written."""
_ORDER = (
    *("README.md", "README.zh.md", "docs/recipes.md", "docs/transports/README.md", "docs/transports/sse.md"),
    *("docs/transports/websocket.md", "docs/transports/ndjson.md", "docs/transports/long-polling.md"),
    *("docs/transports/short-polling.md", "docs/transports/plain-answer.md", "docs/compatible.md"),
    *("clients/js/README.md", "clients/python/README.md", "docs/troubleshooting.md", "docs/queue.md"),
    "docs/webhooks.md",
    *("docs/access.md", "docs/limits.md", "docs/operations.md", "docs/deployments.md", "docs/reliability.md"),
    *("docs/performance.md", "docs/security.md", "docs/design.md"),
)
"""The pages in the order in which they are listed; others follow by name."""
_TITLES = {
    "README.md": "Overview",
    "README.zh.md": "概览（中文）",
    "clients/js/README.md": "JavaScript client",
    "clients/python/README.md": "Python client",
    "docs/transports/README.md": "Transports",
}
"""The titles of pages whose first heading does not tell them apart in a list."""
_TYPES = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".py": "text/plain",
    ".mjs": "text/plain",
    ".html": "text/plain",
}
_BYTES_AT_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """A Markdown file. ``name``: its address below ``/docs/``."""

    name: str
    file: str
    title: str
    path: Path

    @property
    def is_part(self) -> bool:
        """Whether the page is one of several about its folder."""
        return self.file.startswith("docs/transports/") and not self.file.endswith("README.md")

    def text(self) -> str:
        """Its Markdown."""
        return self.path.read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A picture or an example."""

    path: Path
    media_type: str


def name_of(file: str) -> str:
    """The address of a Markdown file below ``/docs/``: ``docs/transports/README.md`` is ``transports``."""
    name = file.removesuffix(".md")
    if name.startswith("README"):
        return name.replace("README", "overview").replace(".", "-")
    return name.removeprefix("docs/").removesuffix("/README")


@cache
def pages() -> Mapping[str, Page]:
    """The pages by name, in their order."""
    found = [file for file in _ORDER if (_ROOT / file).is_file()]
    rest = sorted(str(path.relative_to(_ROOT)) for path in (_ROOT / "docs").rglob("*.md"))
    files = found + [file for file in rest if file not in found]
    return {name_of(file): Page(name_of(file), file, _title_of(file), _ROOT / file) for file in files}


@cache
def attachments() -> Mapping[str, Attachment]:
    """The other files of the documentation, by their path below ``docs/``."""
    folder = _ROOT / "docs"
    return {
        str(path.relative_to(folder)): Attachment(path, _TYPES[path.suffix])
        for path in sorted(folder.rglob("*"))
        if path.suffix in _TYPES and path.is_file() and path.stat().st_size <= _BYTES_AT_MOST
    }


def _title_of(file: str) -> str:
    if file in _TITLES:
        return _TITLES[file]
    with (_ROOT / file).open(encoding="utf-8") as lines:
        return next((line[2:].strip() for line in lines if line.startswith("# ")), file)
