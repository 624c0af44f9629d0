"""Which tests share a process of ``make test``: those of a module, and modules that need the same costly programs."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

GROUPS = {
    "tests/browser/": "browser",
    "tests/clients/": "browser",
    "tests/compatible/": "compatible",
    "tests/system/": "system",
    "tests/test_readme.py": "system",
    "tests/test_": "source",
    "tests/spool/test_fail_points.py": "source",
}
"""One Chromium and one ``stack`` for each group; those of ``source`` parse each file of the product once."""

FIXTURES = {
    re.compile(r"\bopen_web: Stack"): "open",
    re.compile(r"\b(guarded: Stack|(alice|bob): httpx\.Client)"): "guarded",
}
"""Modules that take such a fixture share the process in which it runs."""

_WITH_FIXTURES = ("tests/web/", "tests/compatible/")
_ROOT = Path(__file__).parents[1]


def group_of(nodeid: str) -> str:
    """The group of a test: its module, or one of ``FIXTURES`` or ``GROUPS``. A parameter may contain ``::``."""
    return _group_of_module(nodeid.partition("::")[0])


@cache
def _group_of_module(module: str) -> str:
    if module.startswith(_WITH_FIXTURES) and (_ROOT / module).exists():
        text = (_ROOT / module).read_text(encoding="utf-8")
        for fixture, group in FIXTURES.items():
            if fixture.search(text):
                return group
    return next((group for start, group in GROUPS.items() if module.startswith(start)), module)


def is_grouped(nodeid: str) -> bool:
    """Whether other modules share the test's process."""
    return group_of(nodeid) != nodeid.partition("::")[0]


class ByGroup(LoadScopeScheduling):
    """xdist's loadscope with these groups. By itself it takes ``test_host[::1]`` for a class's test, in a process of
    its own."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
