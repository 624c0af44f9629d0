"""The table of what jobs keep."""

from __future__ import annotations

from bench.sizing import Kept, Shape, table


def test_table_of_sizes() -> None:
    """A row a shape: bytes before and after packing, how many jobs fit below the watermark, the rate that this bears
    for a day, and what a million answers a day need."""
    packed = 1024**3 * 0.9 / 86_400
    kept = Kept(Shape("/jobs", 1000, 1000), stream=20_000.4, packed=packed, file_bytes=30_000.4, pack_ms=5.04)
    assert kept.jobs_a_s == 1
    row = "| /jobs | 1,000 | one a second | 20,000 | 11,185 | 11.2 | 30,000 | 86,400 | 1.00 | 10.4 | 5.0 |"
    assert table([kept]).splitlines()[2] == row
