"""The commit from which this Spool was built: that of the checkout, or the one that the build noted in ``COMMIT``."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PACKAGE = Path(__file__).parent
_FOLLOWED_AT_MOST = 5


@cache
def commit(package: Path = _PACKAGE) -> str | None:
    """Forty hex digits; None if it is unknown. Never raises and starts no program."""
    try:
        noted = package / "COMMIT"
        found = noted.read_text(encoding="ascii").strip() if noted.is_file() else _of_checkout(package.parent)
    except (OSError, ValueError):
        return None
    return found if is_commit(found) else None


def is_commit(text: str) -> bool:
    """Whether the text is a commit's forty hex digits."""
    return _COMMIT.fullmatch(text) is not None


def _of_checkout(root: Path) -> str:
    git = root / ".git"
    if git.is_file():
        # A worktree: the file names its directory.
        git = (root / git.read_text(encoding="utf-8").strip().removeprefix("gitdir: ")).resolve()
    if not git.is_dir():
        return ""
    shared = git / "commondir"
    common = (git / shared.read_text(encoding="utf-8").strip()).resolve() if shared.is_file() else git
    found = (git / "HEAD").read_text(encoding="utf-8").strip()
    for _ in range(_FOLLOWED_AT_MOST):
        if not found.startswith("ref: "):
            break
        found = _ref(git, common, found.removeprefix("ref: "))
    return found


def _ref(git: Path, common: Path, name: str) -> str:
    for folder in (git, common):
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8").strip()
    packed = (common / "packed-refs").read_text(encoding="utf-8").splitlines()
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")
