"""Entries with their texts joined."""

from __future__ import annotations

from web.joined_text import joined


def test_adjacent_texts_of_one_kind_are_one_entry() -> None:
    """A run of text is one entry with the id of its first; other kinds stay single, and end a run."""
    said = [("started", ""), ("reasoning", "a"), ("reasoning", "b"), ("token", "c"), ("token", "d"), ("usage", "")]
    entries = [{"id": number, "kind": kind, "text": text} for number, (kind, text) in enumerate([*said, *said], 1)]
    found = joined(entries)
    assert [(entry["id"], entry["kind"], entry["text"]) for entry in found[:4]] == [
        (1, "started", ""),
        (2, "reasoning", "ab"),
        (4, "token", "cd"),
        (6, "usage", ""),
    ]
    assert [entry["id"] for entry in found[4:]] == [7, 8, 10, 12]


def test_entries_are_not_changed() -> None:
    """The given entries stay as they are."""
    entries = [{"id": 1, "kind": "token", "text": "a"}, {"id": 2, "kind": "token", "text": "b"}]
    assert joined(entries) == [{"id": 1, "kind": "token", "text": "ab"}]
    assert entries[0]["text"] == "a"
