"""Static keys of the settings and of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from spool.access.static_keys import parse_static_keys
from web.access.static_table import StaticTable

GIVEN = parse_static_keys("alice=11111111")


def test_file_is_read_again_after_a_change(tmp_path: Path) -> None:
    """A removed key is no longer valid, a new one is, and the keys of the settings stay."""
    path = tmp_path / "keys"
    path.write_text("bob=22222222\n", encoding="utf-8")
    table = StaticTable(GIVEN, path)
    bob = table.caller(b"22222222")
    assert bob is not None
    assert table.current(bob) == bob
    path.write_text("carol=3333333333\n", encoding="utf-8")
    table.look()
    carol, alice = table.caller(b"3333333333"), table.caller(b"11111111")
    assert (carol and carol.owner, alice and alice.owner) == ("carol", "alice")
    assert table.caller(b"22222222") is table.current(bob) is None


def test_file_that_becomes_wrong_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The keys stay as they were, and the log says so without a secret."""
    path = tmp_path / "keys"
    path.write_text("bob=22222222\n", encoding="utf-8")
    table = StaticTable(GIVEN, path)
    path.write_text("bob=tiny\n", encoding="utf-8")
    table.look()
    assert table.caller(b"22222222")
    assert "the keys stay as they were" in caplog.text
    assert "tiny" not in caplog.text


def test_file_that_is_missing_at_the_start_is_an_error(tmp_path: Path) -> None:
    """A server does not start without the keys that it should have."""
    with pytest.raises(OSError, match="nothing"):
        StaticTable(GIVEN, tmp_path / "nothing")


def test_owners_whose_keys_have_the_same_id() -> None:
    """Each id leads to the key of the owner that is named with it."""
    table = StaticTable(parse_static_keys("a=11111111,a=22222222,a-2=33333333"))
    second, other = table.by_id("static-a-2", "a"), table.by_id("static-a-2", "a-2")
    assert (second, other) == (table.caller(b"22222222"), table.caller(b"33333333"))
    assert table.by_id("static-a-2", "b") is None
