"""The dependencies that the product imports are the ones that it declares, and each has its reason."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator

from tests.syntax import nodes_of
from tests.test_architecture import ROOT

OWN = {"spool": "spool", "web": "web", "worker": "worker", "spool_client": "clients/python/spool_client"}
"""The packages of the server's wheel, and their folders."""
IMPORTED_AS = {
    "botocore": "boto3",
    "jwt": "pyjwt",
    "opentelemetry": "opentelemetry-sdk",
    "opentelemetry.exporter": "opentelemetry-exporter-otlp-proto-http",
}
"""Modules whose distributions have other names; those of a namespace that several distributions share."""
NOT_IMPORTED = {"packaging"}
"""Declared for libraries that do not declare it themselves."""


def imported() -> Iterator[str]:
    """The distribution of each module that the product imports."""
    for folder in OWN.values():
        for path in (ROOT / folder).rglob("*.py"):
            for node in nodes_of(path):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                for name in names:
                    top = name.split(".")[0]
                    if top not in sys.stdlib_module_names and top not in OWN:
                        two = ".".join(name.split(".")[:2])
                        yield IMPORTED_AS.get(two, IMPORTED_AS.get(top, top.replace("_", "-")))


def declared() -> set[str]:
    """The names of the dependencies in pyproject.toml, with those of the extras that the product imports."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "test" for line in lines]
    return {re.split(r"[^\w-]", line)[0].lower() for line in (*project["dependencies"], *extras)}


def test_imports_are_declared() -> None:
    """No module is imported that only another library brings, and none is declared that nothing imports."""
    assert set(imported()) == declared() - NOT_IMPORTED


def test_each_dependency_has_its_reason() -> None:
    """CONTRIBUTING's table has exactly the declared dependencies."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Dependencies")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| ([a-z][\w-]+) \|", text, re.MULTILINE)) - {"package"} == declared()
