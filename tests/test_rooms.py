"""Rooms: which folder of a package may import which, and no two modules that import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.syntax import nodes_of
from tests.test_architecture import ROOT, imports

ORDER: Mapping[str, tuple[str, ...]] = {
    "spool": (
        *(
            "redis",
            "access",
            "models",
            "owners",
            "switches",
            "files",
            "conversations",
            "jobs",
            "batches",
            "webhooks",
            "following",
        ),
        *("broker", "bell_queue", "bell", "settings", "run", "status", "cli", "__main__"),
    ),
    "web": (
        *("limits", "access", "auth", "services", "background", "metrics", "operations", "server", "access_lines"),
        *("delivery", "intake"),
        *("native", "openai", "ai_sdk", "anthropic"),
        *("ollama", "mcp", "ag_ui", "durable_streams"),
        *("admin", "console", "docs", "openapi", "app", "gunicorn"),
    ),
    "worker": (
        *("backends", "models", "returned_files", "attempt", "ownership", "runner", "slots", "process", "assembly"),
        *("quarantine", "celery", "__main__"),
    ),
}
"""The rooms of each package, and the modules beside them that use rooms: each may import those before it. What is not
listed lies below, and imports none of them."""


def room_of(root: Path, name: str) -> str:
    """The part of the package that ``package.part…`` is in: a folder, or a module beside the folders."""
    parts = name.split(".")
    if len(parts) == 1:
        return "__init__"
    is_module = (root / parts[0] / f"{parts[1]}.py").exists() or (root / parts[0] / parts[1]).is_dir()
    return parts[1] if is_module else "__init__"


def imported(root: Path, path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import of the package's own modules, those for the type checker included."""
    froms = {node.lineno: node for node in nodes_of(path) if isinstance(node, ast.ImportFrom)}
    for line, name in imports(path):
        if name.partition(".")[0] != package:
            continue
        if (root / name.replace(".", "/")).is_dir() and line in froms:
            yield from ((line, f"{name}.{alias.name}") for alias in froms[line].names)
        else:
            yield line, name


def upward_imports(root: Path, package: str) -> list[str]:
    """Every import of a room that stands behind the importing one, as ``file:line: room imports name``."""
    order, found = ORDER[package], []
    for path in sorted((root / package).rglob("*.py")):
        # gunicorn.conf.py is no module that could be imported.
        own = room_of(root, ".".join(path.relative_to(root).with_suffix("").parts))
        own = path.stem.partition(".")[0] if "." in path.stem else own
        place = order.index(own) if own in order else -1
        for line, name in imported(root, path, package):
            other = room_of(root, name)
            if other in order and order.index(other) > place:
                found.append(f"{path.relative_to(root)}:{line}: {own} imports {name}")
    return found


def edges_of(root: Path, package: str) -> dict[str, set[str]]:
    """The modules of a package, each with those of the package that it imports."""
    edges: dict[str, set[str]] = {}
    for path in (root / package).rglob("*.py"):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        edges[module] = {_module(root, name) for _, name in imported(root, path, package)} - {module}
    return edges


def circles(root: Path, package: str) -> list[str]:
    """Modules that lead back to themselves through imports, each with the way."""
    edges = edges_of(root, package)
    found, done = [], set[str]()

    def walk(module: str, way: list[str]) -> None:
        if module in way:
            found.append(" -> ".join([*way[way.index(module) :], module]))
        elif module not in done:
            for other in sorted(edges.get(module, ())):
                walk(other, [*way, module])
            done.add(module)

    for module in sorted(edges):
        walk(module, [])
    return found


def _module(root: Path, name: str) -> str:
    """The module that a dotted name is, or is in."""
    path = root / name.replace(".", "/")
    return name if path.is_dir() or path.with_suffix(".py").exists() else name.rpartition(".")[0]


@pytest.mark.parametrize("package", ORDER)
def test_rooms_import_one_way(package: str) -> None:
    """A room imports only rooms before it in its package's list, and what lies below all rooms."""
    assert not upward_imports(ROOT, package), "\n".join(upward_imports(ROOT, package))


@pytest.mark.parametrize("package", ORDER)
def test_no_modules_import_each_other(package: str) -> None:
    """No module leads back to itself through imports, not even through those for the type checker."""
    assert not circles(ROOT, package), "\n".join(circles(ROOT, package))


@pytest.mark.parametrize("package", ORDER)
def test_every_folder_is_a_room(package: str) -> None:
    """A folder of the package that has Python in it stands in the list."""
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert folders <= set(ORDER[package])


def test_wrong_import_is_found(tmp_path: Path) -> None:
    """A planted import that points up is found and named, and so is a planted circle."""
    for room, text in {"redis": "from spool.jobs import job\n", "jobs": "import spool.redis.link\n"}.items():
        (tmp_path / "spool" / room).mkdir(parents=True)
        (tmp_path / "spool" / room / "__init__.py").touch()
        (tmp_path / "spool" / room / ("link.py" if room == "redis" else "job.py")).write_text(text, encoding="utf-8")
    assert upward_imports(tmp_path, "spool") == ["spool/redis/link.py:1: redis imports spool.jobs.job"]
    assert circles(tmp_path, "spool") == ["spool.jobs.job -> spool.redis.link -> spool.jobs.job"]


def routes(root: Path) -> set[str]:
    """The modules of the web that define routes: they make a blueprint, or register a WebSocket."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in (root / "web").rglob("*.py")
        for node in nodes_of(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("Blueprint", "socket_route")
    }


def importers_of_routes(root: Path) -> list[str]:
    """Every import of a module that defines routes, as ``file:line imports name``."""
    modules, found = routes(root), []
    for path in sorted((root / "web").rglob("*.py")):
        for node in nodes_of(path):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
            else:
                continue
            found += [f"{path.relative_to(root)}:{node.lineno} imports {name}" for name in sorted(names & modules)]
    return found


def test_only_the_application_imports_routes() -> None:
    """A module with routes is no library: nothing imports it but the application."""
    assert routes(ROOT) >= {"web.native.jobs", "web.openai.chat", "web.ai_sdk.chat", "web.native.websocket"}
    found = [line for line in importers_of_routes(ROOT) if not line.startswith("web/app.py:")]
    assert not found, "\n".join(found)


def test_import_of_a_route_is_found(tmp_path: Path) -> None:
    """A planted import of a module with routes is found, in either form."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "jobs.py").write_text('blueprint = Blueprint("jobs", __name__)\n', encoding="utf-8")
    (tmp_path / "web" / "one.py").write_text("from web import jobs\n", encoding="utf-8")
    (tmp_path / "web" / "other.py").write_text("from web.jobs import submit\n", encoding="utf-8")
    assert importers_of_routes(tmp_path) == ["web/one.py:1 imports web.jobs", "web/other.py:1 imports web.jobs"]


def test_no_surface_imports_the_routes_of_another() -> None:
    """The rooms with routes (native, openai, ai_sdk, console) do not import each other; only the application does."""
    surfaces = {
        "native",
        "openai",
        "ai_sdk",
        "anthropic",
        "ollama",
        "mcp",
        "ag_ui",
        "durable_streams",
        "admin",
        "console",
    }
    for surface in surfaces:
        for path in (ROOT / "web" / surface).rglob("*.py"):
            others = {room_of(ROOT, name) for _, name in imported(ROOT, path, "web")} & surfaces
            assert others <= {surface}, path
