"""Notes the commit in what is built: the file ``spool/COMMIT``, which ``spool.build`` reads."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "BUILD_COMMIT"
"""The commit, where the build has no checkout: 40 hex digits."""


class CommitHook(BuildHookInterface):
    """Adds the file, unless the commit is unknown, or the source has the file already."""

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """Write the file. Raises ``ValueError`` for a variable that is no commit."""
        if Path(self.root, "spool", "COMMIT").exists():
            return
        found = commit(Path(self.root))
        if found:
            self._folder = tempfile.TemporaryDirectory(prefix="spool-build-")
            noted = Path(self._folder.name, "COMMIT")
            noted.write_text(f"{found}\n", encoding="ascii")
            build_data["force_include"][str(noted)] = "spool/COMMIT"


def commit(root: Path) -> str | None:
    """The commit that is built: the variable's, else the checkout's; None if neither is there."""
    sys.path.insert(0, str(root))
    from spool import build

    given = os.environ.get(VARIABLE, "")
    if given and not build.is_commit(given):
        raise ValueError(f"{VARIABLE}={given!r} is not a commit of 40 hex digits")
    return given or build.commit()
