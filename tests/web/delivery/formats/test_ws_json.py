"""WebSocket messages: entries in, RFC 6455 out, read back by another implementation."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from spool.jobs.log import Gap
from tests.by_hand import done, tokens
from web.delivery.formats.ws_json import JobMessages, JsonEntries

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON, JOB = JsonEntries(), JobMessages("j0-a")


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


def test_messages_beside_entries() -> None:
    """A gap, a log's end and an error are messages of their own; on a socket of many jobs they name the job."""
    gap = Gap(3, 5, 9, 4)
    shown = {"type": "gap", "requested": 3, "earliest": 5, "latest": 9}
    data = JSON.gap(gap) + JOB.gap(gap) + JOB.end(9, is_gone=False) + JOB.end(9, is_gone=True)
    data += JOB.unavailable("Store unavailable", "x")
    assert [json.loads(message) for message in read(data)] == [
        shown,
        {**shown, "job": "j0-a"},
        {"type": "ended", "job": "j0-a", "last": 9},
        {"type": "error", "job": "j0-a", "status": 410, "detail": "the log has expired or was deleted"},
        {"type": "error", "job": "j0-a", "status": 503, "detail": "Redis is unreachable; retry"},
    ]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (JSON.end(9, is_gone=False), 1000),
        (JSON.end(9, is_gone=True), 4410),
        (JSON.reconnect(), 1001),
        (JSON.unavailable("Store unavailable", "x"), 1013),
    ],
)
def test_close_codes_of_one_job(frame: bytes, code: int) -> None:
    """The socket of one job ends with the code for the reason."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(frame)
    (event,) = client.events()
    assert isinstance(event, CloseConnection)
    assert event.code == code


def test_the_socket_itself_pings_and_drains() -> None:
    """A heartbeat has no message, and neither has a drain on a socket of many jobs."""
    assert JSON.heartbeat(1) == JOB.heartbeat(1) == JOB.reconnect() == b""
