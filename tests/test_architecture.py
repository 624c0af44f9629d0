"""Which package may import which: web ──▶ spool ◀── worker; bench imports the rig and no tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.syntax import nodes_of, tree_of

ROOT = Path(__file__).parents[1]

OURS = {"spool", "web", "worker", "clients", "spool_client", "rig", "tests", "bench"}

MAY_IMPORT_OF_OURS: Mapping[str, set[str]] = {
    "spool": {"spool"},
    "web": {"web", "spool"},
    "worker": {"worker", "spool"},
    "clients": {"clients"},
    "rig": {"rig", "spool", "worker"},
    "bench": {"bench", "rig", "spool", "web", "worker"},
}

MUST_NOT_IMPORT: Mapping[str, set[str]] = {
    "spool": {"flask", "flask_sock", "flask_cors", "gunicorn", "werkzeug"},
    "worker": {"flask", "flask_sock", "flask_cors", "gunicorn", "werkzeug"},
    "web": set(),
    "rig": set(),
    "bench": set(),
    "clients": {"flask", "celery", "redis"},
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every absolute import in ``path``, also those inside functions."""
    yield from _imports(path)


@cache
def _imports(path: Path) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found += ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.append((node.lineno, node.module))
    return found


def wrong_arrows(root: Path) -> list[str]:
    """Every import that points the wrong way, as ``file:line: package imports name``."""
    found = []
    for package, may in MAY_IMPORT_OF_OURS.items():
        for path in sorted((root / package).rglob("*.py")):
            if "node_modules" in path.parts:
                continue
            for line, name in imports(path):
                top = name.partition(".")[0]
                if top == "spool_client" and path.is_relative_to(root / "spool" / "cli"):
                    # The command line has the client's commands beside its own.
                    continue
                foreign = top in OURS - may and not (package == "clients" and _is_own(path, root, top))
                if foreign or top in MUST_NOT_IMPORT[package]:
                    found.append(f"{path.relative_to(root)}:{line}: {package} imports {name}")
    return found


def _is_own(path: Path, root: Path, top: str) -> bool:
    """Whether ``top`` is a package of the client's own, under its directory: the Python client may have any name."""
    client = root / "clients" / path.relative_to(root / "clients").parts[0]
    return top in {folder.name for folder in client.rglob(top) if folder.is_dir()}


def test_packages_import_only_along_the_arrows() -> None:
    """web and worker never import each other, spool neither of them nor Flask, clients none of them."""
    assert not wrong_arrows(ROOT), "\n".join(wrong_arrows(ROOT))


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("spool/jobs/job.py", "import os\nimport web.app", "spool/jobs/job.py:2: spool imports web.app"),
        ("spool/jobs/job.py", "from worker import runner", "spool/jobs/job.py:1: spool imports worker"),
        ("spool/a/b.py", "def f():\n    import flask", "spool/a/b.py:2: spool imports flask"),
        ("web/app.py", "from worker.attempt import x", "web/app.py:1: web imports worker.attempt"),
        ("worker/app.py", "if 1:\n    from web import y", "worker/app.py:2: worker imports web"),
        ("worker/app.py", "import flask.json", "worker/app.py:1: worker imports flask.json"),
        ("clients/python/c.py", "import spool.jobs.log", "clients/python/c.py:1: clients imports spool.jobs.log"),
        ("spool/bell.py", "import spool_client", "spool/bell.py:1: spool imports spool_client"),
        ("web/app.py", "import bench.load", "web/app.py:1: web imports bench.load"),
        ("bench/load.py", "from tests.stack import Stack", "bench/load.py:1: bench imports tests.stack"),
        ("rig/stack.py", "import tests.proxy", "rig/stack.py:1: rig imports tests.proxy"),
    ],
)
def test_wrong_arrow_is_named_with_file_and_line(tmp_path: Path, file: str, source: str, expected: str) -> None:
    """The walk can fail: a planted import of each wrong kind is found and named."""
    planted = tmp_path / file
    planted.parent.mkdir(parents=True)
    planted.write_text(source, encoding="utf-8")
    assert wrong_arrows(tmp_path) == [expected]


def test_right_arrows_are_no_offence(tmp_path: Path) -> None:
    """What is allowed is not reported, nor a name that merely begins like one of ours."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "app.py").write_text(
        "import flask\nfrom spool import log\nimport web.delivery.formats.sse\nimport webbrowser\nfrom . import jobs\n",
        encoding="utf-8",
    )
    assert wrong_arrows(tmp_path) == []


def imported_at_start(module: str) -> set[str]:
    """Every module that is loaded when ``module`` is, of ours with what these load in turn."""
    seen, todo = set[str](), [module]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        path = ROOT / name.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name.partition(".")[0] in OURS and file.exists():
            todo += loaded(tree_of(file).body)
    return seen


def loaded(statements: list[ast.stmt]) -> Iterator[str]:
    """What these statements import, and those under them; not in functions, nor for the type checker alone."""
    for node in statements:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from loaded([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from loaded([*node.body, *node.orelse, *node.finalbody])


@pytest.mark.parametrize("program", ["worker.__main__", "worker.celery", "worker.quarantine.__main__"])
def test_sdk_is_not_loaded_without_upstreams(program: str) -> None:
    """The upstreams' SDK takes as long to import as the rest of a worker: one that has no upstream does not load it."""
    names = imported_at_start(program)
    assert "worker.process" in names
    assert "openai" not in names
