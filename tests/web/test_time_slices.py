"""Long work pauses whenever its slice of time is used up."""

from __future__ import annotations

from web.time_slices import SLICE_S, Slices, in_slices


def test_pause_when_a_slice_is_used_up() -> None:
    """Others run after each slice, and not before its end."""
    # A power of two: halves of the slice add up without rounding.
    now, pauses = 0.0, 0

    def pause() -> None:
        nonlocal now, pauses
        pauses += 1
        # What the others take does not count.
        now += 100 * SLICE_S

    slices = Slices(lambda: now, pause)
    seen = []
    for item in in_slices(range(9), slices):
        seen.append((item, pauses))
        now += SLICE_S * 0.6
    assert seen == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3), (8, 4)]
