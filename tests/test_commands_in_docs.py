"""The commands that the documentation gives for its claims name tests that exist."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from tests.test_architecture import ROOT

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
OF_FAULTS = ["tests/faults", "tests/compose"]
_COMMAND = re.compile(r'`(?:pytest ([^`]+)|make faults PYTEST_ARGS="([^`]+)")`')


def modules_of(arguments: str, paths: list[str]) -> tuple[list[Path], list[str]]:
    """The test modules of these arguments of pytest, those of ``paths`` without any, and the words of their ``-k``."""
    words, found = shlex.split(arguments), []
    choice = words.pop(words.index("-k") + 1) if "-k" in words else ""
    named = [word.partition("::")[0] for word in words if word.startswith("tests")] or paths
    for name in named:
        path = ROOT / name
        modules = [path] if path.is_file() else sorted(path.rglob("test_*.py"))
        assert modules, f"no tests in {name}"
        found += modules
    return found, [word for word in re.findall(r"\w+", choice) if word not in ("and", "or", "not")]


@cache
def text_of(module: Path) -> str:
    """The name and the text of a module, in lower case."""
    return f"{module.name} {module.read_text(encoding='utf-8')}".lower()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_tests(page: Path) -> None:
    """Each file exists, and each word that chooses among tests occurs in one of them."""
    for plain, of_faults in _COMMAND.findall(page.read_text(encoding="utf-8")):
        command = plain or of_faults
        modules, words = modules_of(command, OF_FAULTS)
        for word in words:
            assert any(word.lower() in text_of(module) for module in modules), f"no test has {word!r}: {command}"
