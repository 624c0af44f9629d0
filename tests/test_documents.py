"""The pages in ``docs/`` say what is so: their links, settings, problems, code and examples."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.models.file import load
from spool.settings import known_variables
from tests.syntax import nodes_of
from tests.test_architecture import ROOT
from web.problem_kinds import KINDS

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "clients").glob("**/README.md")])
PAGES = [page for page in PAGES if "node_modules" not in page.parts]
EXAMPLES = sorted(path for path in (ROOT / "docs/transports/examples").iterdir() if path.is_file())
TRANSPORTS = sorted(page for page in (ROOT / "docs/transports").glob("*.md") if page.name != "README.md")
NOT_SETTINGS = {
    *("SPOOL_URL", "SPOOL_KEY", "SPOOL_KEY_FILE"),
    *(
        "SPOOL_CLAUDE",
        "SPOOL_CODEX",
        "SPOOL_OPENCODE",
        "SPOOL_FAULTS_REPORT",
        "SPOOL_LADDER_REPORT",
        "SPOOL_FAIL_POINT",
        "SPOOL_SHARDS",
    ),
}
"""Variables of clients and of tests."""
LINES_AT_MOST = 60


def short(path: Path) -> str:
    """The name of a test's parameter."""
    return str(path.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The page's code blocks in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def without_code(page: Path) -> str:
    """The page's text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names under which GitHub links to the page's headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    """The links of the page to a file that is missing, or to a heading that its page does not have."""
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        name, _, anchor = link.partition("#")
        if name.startswith(("http:", "https:")):
            continue
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def in_blocks(language: str) -> list[tuple[str, str]]:
    """Every block in this language, under a name."""
    return [
        (f"{short(page)}-{number}", text) for page in PAGES for number, text in enumerate(blocks(page, language), 1)
    ]


def check_by_node(path: Path) -> None:
    """Fail if Node finds an error in the syntax. Skip where there is no Node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on PATH")
    done = subprocess.run([node, "--check", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_links_resolve(page: Path) -> None:
    """Each link to a file or to a heading leads to one."""
    assert list(broken_links(page)) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    """A link to a missing file and one to a missing heading are found; others are none."""
    page = tmp_path / "page.md"
    page.write_text("# A heading, here\n[a](#a-heading-here) [b](gone.md) [c](page.md#gone) [d](https://x.example)\n")
    assert list(broken_links(page)) == ["gone.md", "page.md#gone"]


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_settings_exist(page: Path) -> None:
    """Each variable that a page names is a setting, or one of clients or tests."""
    # A name that ends with an underscore stands for several.
    named = set(re.findall(r"\bSPOOL_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
    assert named <= {*known_variables(), *NOT_SETTINGS}


def test_problems_exist() -> None:
    """Troubleshooting names problems by their status and title."""
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (429|503) ((?:`[^`]+`(?:, )?)+) \|", text, re.MULTILINE)
    named = {(int(status), title) for status, titles in rows for title in re.findall(r"`([^`]+)`", titles)}
    assert len(named) > 10
    assert named <= {(kind.status, kind.title) for kind in KINDS}


@pytest.mark.parametrize(("name", "text"), in_blocks("python"), ids=lambda value: value.partition("\n")[0][:60])
def test_python_blocks_compile(name: str, text: str) -> None:
    """Each block of Python is valid; ``await`` may stand outside of functions."""
    compile(text, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize(("name", "text"), in_blocks("js"), ids=lambda value: value.partition("\n")[0][:60])
def test_javascript_blocks_are_valid(name: str, text: str, tmp_path: Path) -> None:
    """Each block of JavaScript is valid, unless it has JSX."""
    if "</" in text:
        pytest.skip(f"{name} has JSX")
    path = tmp_path / "block.mjs"
    path.write_text(text, encoding="utf-8")
    check_by_node(path)


def test_models_file_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The models file of the recipes is read as it stands; all other TOML parses."""
    for name, text in in_blocks("toml"):
        assert tomllib.loads(text), name
    monkeypatch.setenv("GPU_KEY", "x")
    monkeypatch.setenv("HOSTED_KEY", "x")
    path = tmp_path / "models.toml"
    found = [text for text in blocks(ROOT / "docs/recipes.md", "toml") if "[[upstream]]" in text]
    path.write_text("".join(found), encoding="utf-8")
    assert [model.name for upstream in load(path) for model in upstream.models] == ["small", "large"]


@pytest.mark.parametrize("page", TRANSPORTS, ids=short)
def test_transport_has_examples(page: Path) -> None:
    """A page of a transport has a curl line and a file that runs."""
    assert any("curl " in block for block in blocks(page, "sh"))
    assert re.search(r"\]\(examples/\w+\.(py|mjs)\)", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", EXAMPLES, ids=short)
def test_example_is_short_and_valid(path: Path) -> None:
    """An example is named by a page, fits on a screen, is valid, and needs httpx or Node alone."""
    assert any(f"(examples/{path.name})" in page.read_text(encoding="utf-8") for page in TRANSPORTS)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_AT_MOST
    if path.suffix == ".mjs":
        assert "import" not in path.read_text(encoding="utf-8")
        check_by_node(path)
        return
    imported = {alias.name for node in nodes_of(path) if isinstance(node, ast.Import) for alias in node.names}
    assert not any(isinstance(node, ast.ImportFrom) for node in nodes_of(path))
    assert imported - sys.stdlib_module_names == {"httpx"}
