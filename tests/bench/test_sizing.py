"""The table of what jobs keep."""

from __future__ import annotations

from bench.sizing import Kept, table


def test_table_of_sizes() -> None:
    """A row a shape, with how many jobs fit below the watermark, and the rate that this bears for a day."""
    kept = Kept(tokens=1000, coalesced=True, bytes=1024**3 * 0.9 / 86_400, file_bytes=30_000.4)
    assert kept.jobs_a_s == 1
    assert table([kept]).splitlines()[2] == "| 1,000 | one a second | 11,185 | 11 | 30,000 | 86,400 | 1.00 |"
