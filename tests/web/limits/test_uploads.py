"""What a process is receiving: how many bytes it may hold together, and which is given up."""

from __future__ import annotations

from web.limits.uploads import OWN_BYTES, Uploads

LIMIT = 100_000
LARGE = OWN_BYTES + LIMIT // 2


class Upload:
    """One, which knows whether it was given up."""

    def __init__(self) -> None:
        self.is_over = False

    def give_up(self) -> None:
        """It is."""
        self.is_over = True


def test_uploads_that_are_small() -> None:
    """However many there are, what is small does not count, and is not given up for what is large."""
    uploads, small = Uploads(LIMIT), [Upload() for _ in range(1000)]
    for one in small:
        uploads.hold(one, OWN_BYTES)
    for _ in range(5):
        uploads.hold(Upload(), LARGE)
    assert uploads.counted == LIMIT
    assert not any(one.is_over for one in small)


def test_upload_without_progress_is_given_up_first() -> None:
    """Not the one that began first, but the one that has grown by nothing for the longest."""
    uploads, older, newer = Uploads(LIMIT), Upload(), Upload()
    uploads.hold(older, OWN_BYTES + 10_000)
    uploads.hold(newer, LARGE)
    uploads.hold(older, OWN_BYTES + 40_000)
    uploads.hold(Upload(), OWN_BYTES + 20_000)
    assert (older.is_over, newer.is_over) == (False, True)
    assert uploads.counted == 60_000


def test_upload_of_a_byte_now_and_then_makes_no_progress() -> None:
    """It keeps its place in the row, however often a byte comes."""
    uploads, dripping, newer = Uploads(LIMIT), Upload(), Upload()
    uploads.hold(dripping, LARGE - 1000)
    uploads.hold(newer, LARGE - 1000)
    for more in range(1000):
        uploads.hold(dripping, LARGE - 999 + more)
    uploads.hold(Upload(), OWN_BYTES + 10_000)
    assert (dripping.is_over, newer.is_over) == (True, False)


def test_upload_that_holds_less_makes_progress() -> None:
    """What an application has taken of it counts no more."""
    uploads, taken, waiting = Uploads(LIMIT), Upload(), Upload()
    uploads.hold(taken, LARGE)
    uploads.hold(waiting, LARGE)
    uploads.hold(taken, LARGE - 10_000)
    assert uploads.counted == LIMIT - 10_000
    uploads.hold(Upload(), LARGE)
    assert (taken.is_over, waiting.is_over) == (False, True)


def test_uploads_that_ended() -> None:
    """They hold nothing, also if they had been given up."""
    uploads, one = Uploads(LIMIT), Upload()
    uploads.hold(one, LARGE)
    uploads.end(one)
    uploads.end(one)
    assert uploads.counted == 0
    uploads.hold(one, OWN_BYTES + LIMIT + 1)
    assert one.is_over
    assert uploads.counted == 0
