"""WebSocket messages: entries in, RFC 6455 out, read back by another implementation."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from spool.following.feed import Feed
from spool.jobs.entries import Entry, Kind
from spool.jobs.log import Gap
from tests.by_hand import AT, done, tokens
from web.delivery.formats.ws_json import JSON, JobMessages, bare_text, frame

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JOB = JobMessages("j0-a")


def read(data: bytes) -> list[str]:
    """The text messages in these bytes, as a client gets them."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    messages, parts = [], ""
    for event in client.events():
        assert isinstance(event, TextMessage), event
        parts += event.data
        if event.message_finished:
            messages.append(parts)
            parts = ""
    return messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_frame_of_any_size(size: int) -> None:
    """A frame of any size is one whole message: the length's three forms are right."""
    assert read(frame(b"x" * size)) == ["x" * size]


@given(st.lists(TEXT, max_size=10))
def test_json_entries_are_read_back(texts: list[str]) -> None:
    """An entry is one frame: the bytes that are stored."""
    entries = [*tokens(1, *texts), done(len(texts) + 1)]
    data = b"".join(JSON.entry(n, raw) for n, raw in enumerate(entries, 1))
    assert [message.encode() for message in read(data)] == entries


@given(st.lists(TEXT, max_size=10))
def test_entries_of_one_job_of_many_are_read_back(texts: list[str]) -> None:
    """An entry is one message that names its job."""
    entries = [*tokens(1, *texts), done(len(texts) + 1)]
    data = b"".join(JOB.entry(n, raw) for n, raw in enumerate(entries, 1))
    expected = [{"type": "entry", "job": "j0-a", "entry": json.loads(raw)} for raw in entries]
    assert [json.loads(message) for message in read(data)] == expected


@given(st.lists(TEXT, max_size=10))
def test_bare_text_is_read_back(texts: list[str]) -> None:
    """A token is its bare text; other entries send nothing."""
    started = Entry(1, Kind.STARTED, AT, {"attempt": 1}).encode()
    thought = Entry(2, Kind.REASONING, AT, {"text": "hmm"}).encode()
    entries = [started, thought, *tokens(3, *texts), done(len(texts) + 3)]
    assert read(b"".join(bare_text(raw) for raw in entries)) == texts


def test_messages_beside_entries() -> None:
    """A gap, a log's end and an error are messages of their own; on a socket of many jobs they name the job."""
    gap = Gap(3, 5, 9, 4)
    shown = {"type": "gap", "requested": 3, "earliest": 5, "latest": 9}
    data = JSON.gap(gap) + JOB.gap(gap) + JOB.ended(9) + JOB.error(503, "away")
    assert [json.loads(message) for message in read(data)] == [
        shown,
        {**shown, "job": "j0-a"},
        {"type": "ended", "job": "j0-a", "last": 9},
        {"type": "error", "job": "j0-a", "status": 503, "detail": "away"},
    ]


def test_sockets_of_a_job_share_its_frames() -> None:
    """Two sockets that follow one job get the identical bytes, encoded once."""
    feed = Feed("j0-a", 0)
    feed.add(1, tokens(1, "a"))
    assert feed.encoded(JobMessages("j0-a"), 0) is feed.encoded(JobMessages("j0-a"), 0)
