"""Findings."""

from __future__ import annotations

from spool.status.finding import Level, error, ok, warning


def test_levels() -> None:
    """Each function makes a finding of its level; only what is wrong has a remedy."""
    assert [ok("a", "b").level, warning("a", "b", "c").level, error("a", "b", "c").level] == list(Level)
    assert (ok("a", "b").remedy, error("a", "b", "c").remedy) == ("", "c")
