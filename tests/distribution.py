"""Which tests share a process of ``make test``: those of a module, and modules that need the same costly programs."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

GROUPS = {
    "tests/browser/": "browser",
    "tests/clients/js/": "browser",
    "tests/compatible/": "compatible",
    "tests/system/": "system",
    "tests/test_readme.py": "system",
}
"""One Chromium, and one ``stack`` for each group."""


def group_of(nodeid: str) -> str:
    """The group of a test: its module, or one of ``GROUPS``. A parameter in the id may contain ``::``."""
    module = nodeid.partition("::")[0]
    return next((name for start, name in GROUPS.items() if module.startswith(start)), module)


class ByGroup(LoadScopeScheduling):
    """xdist's loadscope with these groups. By itself it takes ``test_host[::1]`` for a class's test, in a process of
    its own."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
