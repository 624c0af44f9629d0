"""Newline-delimited JSON: a list in, lines out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.jobs.log import Gap
from tests.by_hand import done, tokens
from web.delivery.formats.ndjson import FORMATS

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = FORMATS["", False]


def lines(stream: bytes) -> list[Any]:
    """The lines, each as JSON. Only LF ends one."""
    assert stream == b"" or stream.endswith(b"\n")
    return [json.loads(line) for line in stream.split(b"\n")[:-1]]


@given(st.lists(TEXT, max_size=10))
def test_entries_are_read_back(texts: list[str]) -> None:
    """Each entry is one line, whatever its text: the bytes that are stored."""
    entries = [*tokens(1, *texts), done(len(texts) + 1)]
    stream = b"".join(PLAIN.entry(n, raw) for n, raw in enumerate(entries, 1))
    assert stream.split(b"\n")[:-1] == entries
    assert [line.get("text") for line in lines(stream)] == [*texts, None]


@pytest.mark.parametrize("form", FORMATS.values(), ids=[str(shape) for shape in FORMATS])
def test_what_is_no_entry_has_a_type(form: Any) -> None:
    """What is no entry has ``type`` and never ``kind``."""
    said = form.opening({"type": "attached", "job": "j"}) + form.gap(Gap(1, 2, 3, 1)) + form.heartbeat(7)
    for line in lines(said + form.reconnect() + form.unavailable("x", "y")):
        assert "kind" not in line
        assert line["type"]


def test_gap() -> None:
    """A gap says what was asked for and what is left."""
    assert lines(PLAIN.gap(Gap(3, None, None, 9))) == [
        {"type": "gap", "requested": 3, "earliest": None, "latest": None}
    ]


def test_ping_for_those_who_ask() -> None:
    """A ping is a line with the last id, for those who asked; for others it is white space before the next line, which
    stays one line of JSON."""
    assert lines(FORMATS["ping", False].heartbeat(41)) == [{"type": "ping", "last": 41}]
    silence = PLAIN.heartbeat(41)
    assert silence
    entry = PLAIN.entry(42, b'{"id":42}')
    assert (silence * 3 + entry).count(b"\n") == 1
    assert lines(silence * 3 + entry) == [{"id": 42}]


def test_opening_for_those_who_submitted() -> None:
    """Who submitted with the same request is told first which job it is; others know."""
    attached = {"type": "attached", "job": "j"}
    assert lines(FORMATS["", True].opening(attached)) == [attached]
    assert PLAIN.opening(attached) == b""
