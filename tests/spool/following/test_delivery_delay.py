"""The delay between worker and web."""

from __future__ import annotations

import pytest

from spool.following.delivery_delay import DeliveryDelay, written_at
from spool.jobs.entries import Kind, encode, encode_text

AT = "2026-11-21T09:30:00.500Z"
SECONDS = 1795253400.5


@pytest.mark.parametrize(
    "entry",
    [encode_text(7, Kind.TOKEN, AT, "word"), encode(8, Kind.USAGE, AT, {"input_tokens": 1, "output_tokens": 2})],
    ids=["token", "usage"],
)
def test_time_of_an_entry(entry: bytes) -> None:
    """The time is that of the first entry of a message."""
    assert written_at(b"7\n" + entry + b"\n" + encode_text(9, Kind.TOKEN, "2030-01-01T00:00:00Z", "x")) == SECONDS


@pytest.mark.parametrize("message", [b"", b"7\n{}", b'7\n{"at":"yesterday"}', b'7\n{"at":"', b"7\n" + b"x" * 999])
def test_message_without_a_time(message: bytes) -> None:
    """A message that has no time where an entry has it is not measured."""
    assert written_at(message) is None


def test_few_messages_are_measured() -> None:
    """At most four messages a second are measured, the oldest of those that were read at once, and a clock that is
    behind counts as no delay."""
    found, walls = list[float](), iter([SECONDS + 0.25, SECONDS - 9])
    delay = DeliveryDelay(found.append, lambda: next(walls))
    message = [b"message", b"channel", b"7\n" + encode_text(7, Kind.TOKEN, AT, "word")]
    newer = [b"message", b"channel", b"8\n" + encode_text(8, Kind.TOKEN, "2030-01-01T00:00:00Z", "word")]
    for now in (0.0, 0.1, 0.2, 0.26, 0.3):
        delay.look([message, newer], now)
    delay.look([[b"subscribe", b"channel", 1]], 9.0)
    assert found == [0.25, 0.0]
