"""Entries: what is written is what is read, and the head can be read without the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.errors import UndecodableRecord
from spool.jobs.entries import TERMINAL, Entry, Kind, encode, encode_text, is_terminal, kind_of, rfc3339

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = TEXT.filter(lambda name: name not in ("id", "kind", "at"))
ENTRIES = st.builds(
    Entry,
    id=st.integers(1, 10**18),
    kind=st.sampled_from(Kind),
    at=st.just("2026-11-21T09:30:00.123Z"),
    fields=st.dictionaries(NAMES, VALUES, max_size=4),
)


@given(ENTRIES)
def test_entry_round_trip(entry: Entry) -> None:
    """An entry that is encoded and decoded is the same entry."""
    assert Entry.decode(entry.encode()) == entry


@given(st.integers(1, 10**18), st.sampled_from(Kind), TEXT)
def test_entry_that_is_all_text(entry_id: int, kind: Kind, text: str) -> None:
    """The short way to an entry with one text gives the very bytes of the long one."""
    at = "2026-11-21T09:30:00.123Z"
    assert encode_text(entry_id, kind, at, text) == encode(entry_id, kind, at, {"text": text})


@given(ENTRIES)
def test_head_agrees_with_decoding(entry: Entry) -> None:
    """Id and kind read from the head are those of the decoded entry, whatever its fields contain."""
    raw = entry.encode()
    assert raw.startswith(b'{"id":%d,"kind":' % entry.id)
    assert kind_of(raw).decode() == entry.kind
    assert is_terminal(raw) == (entry.kind in TERMINAL)


@pytest.mark.parametrize("text", ['"kind":"done"', '{"id":9,"kind":"failed"}', '\\"', "\n\r\u2028\x00"])
def test_head_of_a_token_that_looks_like_one(text: str) -> None:
    """A token whose text looks like an entry's head is still a token."""
    raw = Entry(3, Kind.TOKEN, "t", {"text": text}).encode()
    assert (raw[:8], kind_of(raw), is_terminal(raw)) == (b'{"id":3,', b"token", False)


@given(ENTRIES)
def test_encoded_entry_is_one_line_of_json(entry: Entry) -> None:
    """An encoded entry holds no line end, so that it can be a line of NDJSON and a message's part."""
    raw = entry.encode()
    assert b"\n" not in raw
    assert b"\r" not in raw
    assert list(json.loads(raw))[:3] == ["id", "kind", "at"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"null",
        b"{}",
        b'{"id":1,"kind":"token"}',
        b'{"id":1,"at":"t"}',
        b'{"id":1,"kind":"applause","at":"t"}',
        b'{"id":1,"kind":null,"at":"t"}',
    ],
)
def test_undecodable_entry_keeps_its_bytes(raw: bytes) -> None:
    """What is no entry becomes one named error, which keeps the bytes."""
    with pytest.raises(UndecodableRecord) as caught:
        Entry.decode(raw)
    assert caught.value.raw == raw


@pytest.mark.parametrize(
    ("epoch_s", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (1_795_253_400.123, "2026-11-21T09:30:00.123Z"),
        (1e15, "9999-12-31T23:59:59.000Z"),
        (float("inf"), "9999-12-31T23:59:59.000Z"),
        (-1e15, "1970-01-01T00:00:00.000Z"),
        (float("nan"), "1970-01-01T00:00:00.000Z"),
    ],
)
def test_time_as_rfc_3339(epoch_s: float, shown: str) -> None:
    """Times are RFC 3339 in UTC with milliseconds; one that it cannot show is the next that it can."""
    assert rfc3339(epoch_s) == shown
