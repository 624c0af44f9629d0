"""Samples of memory as CSV and as a picture."""

from __future__ import annotations

import os
from pathlib import Path

from bench.over_time import Samples, picture


def test_samples_are_written_with_all_columns(tmp_path: Path) -> None:
    """A process that comes later or has gone has empty cells, and the picture names every column."""
    running = {"web": os.getpid()}
    samples = Samples(lambda: running, 0.0)
    samples.take(lambda: {"lines": 1})
    running = {"worker": os.getpid()}
    samples.take(lambda: {"lines": 2})
    samples.write(tmp_path / "a.csv")
    first, *rows = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()]
    assert first == ["seconds", "web", "lines", "worker"]
    assert [(bool(web), lines, bool(worker)) for _, web, lines, worker in rows] == [
        (True, "1", False),
        (False, "2", True),
    ]
    drawn = picture(samples, "A & B", ["web", "worker"], {"1 redis": 0.5})
    assert drawn.count("<path") == 2
    assert all(text in drawn for text in ("A &amp; B", ">worker<", "<title>1 redis</title>"))
