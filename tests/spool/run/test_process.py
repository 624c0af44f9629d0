"""One supervised program: its start, its output as lines, its backoff."""

from __future__ import annotations

from pathlib import Path

import pytest

from spool.run.process import BACKOFF_MAX_S, STEADY_S, Backoff, Child, Lines, Program, describe


def test_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """An executable that is not there is an OSError of start, which the supervisor reports."""
    child = Child(Program(name="x", argv=[str(tmp_path / "none")]))
    with pytest.raises(FileNotFoundError):
        child.start()
    assert not child.running


def test_backoff_doubles_to_its_bound_and_is_reset_by_a_long_life() -> None:
    """0.2, 0.4, … 10, 10; and 0.2 again after 30 s of life."""
    backoff = Backoff()
    assert [backoff.after(0.1) for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, BACKOFF_MAX_S, BACKOFF_MAX_S]
    assert backoff.after(STEADY_S) == 0.2


def test_lines_of_any_split_are_the_same() -> None:
    """However the bytes are cut, the lines are the same; an endless one is given out in parts."""
    data = "één\r\ntwo\n\nthree".encode()
    for cut in range(len(data)):
        lines = Lines()
        got = lines.feed(data[:cut]) + lines.feed(data[cut:]) + lines.flush()
        assert got == ["één".encode(), b"two", b"", b"three"]
    assert Lines().feed(b"x" * 70_000) == [b"x" * 70_000]


def test_describe_of_each_end() -> None:
    """Exit statuses and signals in words."""
    assert [describe(code) for code in (0, 3, -9, -15)] == ["exit status 0", "exit status 3", "SIGKILL", "SIGTERM"]
