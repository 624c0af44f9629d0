"""The bare text: what a list of entries adds to it, and where it cannot go on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.jobs.entries import Entry, Kind
from spool.jobs.log import Row
from tests.by_hand import AT, done, tokens
from web.delivery.encoding import Cut
from web.delivery.formats.text import text_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def rows(*entries: bytes, first: int = 1) -> list[Row]:
    """Entries with their ids."""
    return [(first + n, raw) for n, raw in enumerate(entries)]


def entry(entry_id: int, kind: Kind, **fields: object) -> bytes:
    """One encoded entry."""
    return Entry(entry_id, kind, AT, fields).encode()


@given(st.lists(TEXT, max_size=10))
def test_tokens(texts: list[str]) -> None:
    """The text is the tokens' text and nothing else."""
    assert text_of(rows(*tokens(1, *texts)), has_text=False) == ("".join(texts).encode(), False)


def test_nothing() -> None:
    """No entries add nothing."""
    assert text_of([], has_text=True) == (b"", False)


def test_other_kinds() -> None:
    """What is no token adds nothing."""
    others = [
        entry(1, Kind.STARTED, attempt=1, model="demo"),
        entry(2, Kind.REASONING, text="hmm"),
        entry(3, Kind.WAITING, reason="x", retry_at=AT),
        *tokens(4, "a"),
        entry(5, Kind.TOOL_CALL, arguments="{}"),
        entry(6, Kind.USAGE, output_tokens=1),
        entry(7, Kind.CONTINUED, attempt=2, reason="x"),
        *tokens(8, "b"),
    ]
    assert text_of(rows(*others), has_text=True) == (b"ab", False)


def test_done() -> None:
    """Only with ``done`` the text is whole."""
    assert text_of(rows(*tokens(1, "a"), done(2)), has_text=True) == (b"a", True)


@pytest.mark.parametrize("kind", [Kind.FAILED, Kind.CANCELLED])
def test_any_other_end(kind: Kind) -> None:
    """With any other end, what there was is sent, and then the connection is cut."""
    with pytest.raises(Cut) as caught:
        text_of(rows(*tokens(1, "a", "b"), entry(3, kind)), has_text=False)
    assert caught.value.data == b"ab"


def test_restart_after_text_was_sent() -> None:
    """Text that was sent cannot be unsaid."""
    with pytest.raises(Cut) as caught:
        text_of(rows(*tokens(1, "a"), entry(2, Kind.RESTARTED, attempt=2, reason="x"), *tokens(3, "b")), has_text=True)
    assert caught.value.data == b""


def test_restart_before_text_was_sent() -> None:
    """Text that was not sent yet is left out when the job was restarted."""
    restarted = entry(2, Kind.RESTARTED, attempt=2, reason="x")
    assert text_of(rows(*tokens(1, "a"), restarted, *tokens(3, "b")), has_text=False) == (b"b", False)
