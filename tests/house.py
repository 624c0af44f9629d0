"""Measures the structure of the code: ``python -m tests.house [REVISION ...]`` prints a table in Markdown.

A column is a revision of the repository; without any, only the working tree is measured. A second table lists the rooms
of the working tree. A room is a folder of a package, or a module beside the folders. An arrow is a pair of rooms, or of
modules, of which one imports the other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from tests.test_architecture import ROOT
from tests.test_internals import private_uses, product
from tests.test_rooms import ORDER, circles, edges_of, importers_of_routes, room_of

PACKAGES = ("spool", "web", "worker")
Row = tuple[str, str]


def main(revisions: list[str]) -> None:
    """Print a row for each measure and a column for each revision, the working tree last."""
    columns = [_of_revision(revision) for revision in revisions] + [list(measures(ROOT))]
    print("| measure |", " | ".join([*revisions, "now"]), "|")
    print("|---|" + "---|" * len(columns))
    for number, (name, _value) in enumerate(columns[0]):
        print(f"| {name} |", " | ".join(column[number][1] for column in columns), "|")

    print("\n| room | modules | lines | imports the rooms |\n|---|---|---|---|")
    for package in PACKAGES:
        for room in ORDER[package]:
            print("|", " | ".join(_room(ROOT, package, room)), "|")


def _room(root: Path, package: str, room: str) -> list[str]:
    """A room's name, its modules, its lines of Python, and the rooms of the list that it imports."""
    arrows = edges_of(root, package)
    own = [module for module in arrows if room_of(root, module) == room]
    others = {room_of(root, other) for module in own for other in arrows[module]} - {room}
    lines = sum(_count(_path(root, module)) for module in own)
    return [f"`{package}/{room}`", str(len(own)), str(lines), ", ".join(o for o in ORDER[package] if o in others)]


def _path(root: Path, module: str) -> Path:
    path = root / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _of_revision(revision: str) -> list[Row]:
    """The measures of a revision, which is unpacked for it."""
    packed = subprocess.run(["git", "archive", revision, *PACKAGES], cwd=ROOT, capture_output=True, check=True).stdout
    with TemporaryDirectory() as folder, tarfile.open(fileobj=BytesIO(packed)) as files:
        files.extractall(folder, filter="data")
        return list(measures(Path(folder)))


def measures(root: Path) -> Iterator[Row]:
    """Name and value of each measure."""
    for package in PACKAGES:
        arrows = edges_of(root, package)
        rooms = {room_of(root, module) for module in arrows}
        between = {(room_of(root, a), room_of(root, b)) for a in arrows for b in arrows[a]}
        between = {(a, b) for a, b in between if a != b}
        yield f"{package}: modules, arrows between them", f"{len(arrows)}, {sum(map(len, arrows.values()))}"
        yield f"{package}: rooms, arrows between them", f"{len(rooms)}, {len(between)}"
        yield f"{package}: circles of modules, of rooms", f"{len(circles(root, package))}, {_in_circles(between)}"
        yield (
            f"{package}: lines of Python, of Lua",
            f"{_lines(root, package, '*.py')}, {_lines(root, package, '*.lua')}",
        )
    paths = [path for _name, path in product(root)]
    yield "lines of a file: median, largest", _median_and_most({_short(root, p): _count(p) for p in paths})
    functions = dict(_functions(root, paths))
    p90 = quantiles(functions.values(), n=10)[-1]
    yield "lines of a function: median, 90th percentile, largest", _median_and_most(functions, f"{p90:.0f}, ")
    waits = [f"{_short(root, path)} ({name})" for path in paths for name in _reader_loops(path)]
    yield "loops over a reader's entries in `web`", _counted(waits)
    private = Counter(name for name, path in product(root) for _line, _what in private_uses(path))
    yield "private names of libraries: uses (files)", f"{sum(private.values())} ({len(private)})"
    importers = {line.partition(":")[0] for line in importers_of_routes(root)} - {"web/app.py"}
    yield "files that import a route, besides `web/app.py`", str(len(importers))


def _in_circles(arrows: set[tuple[str, str]]) -> int:
    """How many rooms lead back to themselves."""
    leads = {a: {b for x, b in arrows if x == a} for a, _b in arrows}

    def reached(room: str) -> set[str]:
        found, ahead = set[str](), [room]
        while ahead:
            new = leads.get(ahead.pop(), set()) - found
            found |= new
            ahead += new
        return found

    return sum(room in reached(room) for room in leads)


def _functions(root: Path, paths: list[Path]) -> Iterator[tuple[str, int]]:
    """Each function with its number of lines."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = f"{_short(root, path)}:{node.lineno} {node.name}"
                yield name, (node.end_lineno or node.lineno) - node.lineno + 1


def _reader_loops(path: Path) -> Iterator[str]:
    """The functions that wait for a reader, and the classes that ask it for news instead of waiting."""
    if "web" not in path.parts:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        method = {ast.FunctionDef: "wait", ast.ClassDef: "has_news"}.get(type(node))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and method and _asks_reader(node, method):
            yield node.name


def _asks_reader(within: ast.AST, method: str) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == method
        and ast.unparse(node.func.value) in ("reader", "self._reader")
        for node in ast.walk(within)
    )


def _median_and_most(sizes: dict[str, int], between: str = "") -> str:
    most = max(sizes, key=lambda name: sizes[name])
    return f"{median(sizes.values()):.0f}, {between}{sizes[most]} ({most})"


def _counted(names: list[str]) -> str:
    return f"{len(names)}: {', '.join(names)}" if len(names) <= 2 else str(len(names))


def _lines(root: Path, package: str, pattern: str) -> int:
    return sum(map(_count, (root / package).rglob(pattern)))


def _count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _short(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


if __name__ == "__main__":
    main(sys.argv[1:])
