"""Events out of bytes: one event a read, which is the rule, and reads that end anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.backends.openai.sse import MAX_EVENT_BYTES, EventTooLong, SSEDecoder


def events(*chunks: bytes) -> list[bytes]:
    """The data of all events in ``chunks``, one read each."""
    decoder = SSEDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


PARTS = st.sampled_from(
    [b"data: {1}\n\n", b"data: a", b"data:b\n", b"\n", b"\r", b"\r\n", b": ping\n", b": p", b"x: y\n"]
)


@given(st.lists(PARTS, max_size=12))
def test_events_are_the_same_however_they_come(parts: list[bytes]) -> None:
    """A read that is one whole event is one only if nothing of another was before it."""
    raw = b"".join(parts)
    assert events(*parts) == events(raw) == events(*(raw[i : i + 1] for i in range(len(raw))))


@pytest.mark.parametrize(
    ("chunks", "found"),
    [
        ([b"data: a\n\n", b"data: b\n\n"], [b"a", b"b"]),
        ([b"data: a\r", b"data: b\n\n"], [b"a\nb"]),
        ([b": ping\nda", b"data: b\n\n"], []),
        ([b"data: a\ndata: b\n\n"], [b"a\nb"]),
        ([b"data: a\rb\n\n"], [b"a"]),
        ([b"data: \n\n"], [b""]),
        ([b"data: a\n\ndata: b\n\n"], [b"a", b"b"]),
        (["data: \u2028\u0085\n\n".encode()], ["\u2028\u0085".encode()]),
    ],
)
def test_event_is_data_up_to_an_empty_line(chunks: list[bytes], found: list[bytes]) -> None:
    """Lines end at CR, LF and CRLF, and nowhere else."""
    assert events(*chunks) == found


def test_event_that_never_ends_is_refused() -> None:
    """Bounded, also in many reads."""
    with pytest.raises(EventTooLong):
        events(b"data: ", *([b"x" * 1_000_000] * (MAX_EVENT_BYTES // 1_000_000 + 1)))
