"""The record and the id of a file."""

from __future__ import annotations

import pytest

from spool.errors import UndecodableRecord
from spool.files.file import StoredFile, is_file_id, new_file_id

RECORD = {
    "id": "file-1",
    "owner": "alice",
    "filename": "ä.jsonl",
    "purpose": "batch",
    "bytes": "12",
    "created_ms": "5",
    "expires_ms": "6",
    "place": "redis",
}


def reply(**changed: str | None) -> list[bytes]:
    """A record as Redis answers with it."""
    record = {**RECORD, **changed}
    return [part.encode() for name, value in record.items() if value is not None for part in (name, value)]


def test_ids_sort_by_age() -> None:
    """A later id is greater, and both have the form of an id."""
    older, newer = new_file_id(1795253400123), new_file_id(1795253400124)
    assert older < newer
    assert is_file_id(older)
    assert not is_file_id(older + "0")


def test_record_is_decoded() -> None:
    """Each field has its value; a field of a later version does not matter."""
    found = StoredFile.decode(reply(later="x"))
    assert (found.filename, found.size, found.expires_ms) == ("ä.jsonl", 12, 6)


@pytest.mark.parametrize("wrong", [{"bytes": "many"}, {"owner": None}])
def test_damaged_record_is_named(wrong: dict[str, str | None]) -> None:
    """A record without a field, or with a wrong one, raises the one error for it."""
    with pytest.raises(UndecodableRecord):
        StoredFile.decode(reply(**wrong))
