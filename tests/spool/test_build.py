"""The commit of the build."""

from __future__ import annotations

from pathlib import Path

import pytest

from spool.build import commit, is_commit

A, B = "a" * 40, "b" * 40


def checkout(root: Path, files: dict[str, str]) -> Path:
    """A package in a directory with these files."""
    for name, text in {"spool/__init__.py": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root / "spool"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"spool/COMMIT": f"{A}\n", ".git/HEAD": B}, A),
        ({".git/HEAD": f"{A}\n"}, A),
        ({".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": f"{A}\n"}, A),
        ({".git/HEAD": "ref: refs/heads/main\n", ".git/packed-refs": f"# packed\n{A} refs/heads/main\n"}, A),
        (
            {
                ".git": "gitdir: repository/.git/worktrees/w\n",
                "repository/.git/worktrees/w/HEAD": "ref: refs/heads/w\n",
                "repository/.git/worktrees/w/commondir": "../..\n",
                "repository/.git/refs/heads/w": f"{A}\n",
            },
            A,
        ),
        ({}, None),
        ({".git/HEAD": "ref: refs/heads/none\n"}, None),
        ({".git/HEAD": "ref: HEAD\n"}, None),
        ({"spool/COMMIT": "not a commit"}, None),
    ],
    ids=["noted", "detached", "branch", "packed", "worktree", "no-git", "no-branch", "circle", "odd"],
)
def test_commit(tmp_path: Path, files: dict[str, str], found: str | None) -> None:
    """It is the noted one, else that of the checkout; whatever is missing or odd gives None."""
    assert commit(checkout(tmp_path, files)) == found


@pytest.mark.parametrize("text", ["", "HEAD", "a" * 39, "a" * 41, "A" * 40, f"{A}\n"], ids=repr)
def test_text_that_is_no_commit(text: str) -> None:
    """A build refuses another value than forty hex digits."""
    assert is_commit(A)
    assert not is_commit(text)
