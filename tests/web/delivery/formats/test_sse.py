"""Server-sent events, read back by a parser of their own: a list in, bytes out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.jobs.entries import Entry, Kind
from spool.jobs.log import Gap
from tests.by_hand import AT, done, tokens
from web.delivery.formats.sse import FORMATS, SSE

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@dataclass
class Event:
    """What an EventSource hands to its page."""

    name: str
    data: str
    last_id: str


@dataclass
class Parsed:
    """What a stream comes to."""

    events: list[Event]
    retry_ms: int | None


def parse(stream: bytes) -> Parsed:
    """The HTML standard's algorithm, section 9.2.6, and nothing of ours."""
    parsed, name, data, last_id = Parsed([], None), "", list[str](), ""
    for line in re.split(r"\r\n|\n|\r", stream.decode("utf-8"))[:-1]:
        if line == "":
            if data:
                parsed.events.append(Event(name or "message", "\n".join(data), last_id))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                name = value
            case "data":
                data.append(value)
            case "id" if "\0" not in value:
                last_id = value
            case "retry" if value.isdecimal():
                parsed.retry_ms = int(value)
    return parsed


def encoded(*entries: bytes, first: int = 1) -> bytes:
    """Entries in this format, as a stream would carry them."""
    return b"".join(SSE.entry(first + n, raw) for n, raw in enumerate(entries))


def test_entry() -> None:
    """One entry is one event: id, kind, JSON, and an empty line; LF only."""
    raw = tokens(7, "Hel")[0]
    assert SSE.entry(7, raw) == b"id: 7\nevent: token\ndata: " + raw + b"\n\n"


@given(st.lists(TEXT, max_size=10))
def test_entries_are_read_back(texts: list[str]) -> None:
    """Whatever the text, an EventSource gets the same entries with the same ids, one event each."""
    entries = [*tokens(1, *texts), done(len(texts) + 1)]
    events = parse(encoded(*entries)).events
    assert [event.data.encode() for event in events] == entries
    assert [event.last_id for event in events] == [str(n) for n in range(1, len(entries) + 1)]
    assert [event.name for event in events] == ["token"] * len(texts) + ["done"]


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nb", "a\rb", "\n\n", "a\u2028b\u2029c", "a\x0bb\x0cc\x85d", "\x00", ": x", "data: x\n\nid: 9"]
)
def test_entry_with_line_ends_in_its_text(text: str) -> None:
    """Line ends of every kind travel within the JSON and end no line."""
    events = parse(encoded(*tokens(1, text))).events
    assert [json.loads(event.data)["text"] for event in events] == [text]


@pytest.mark.parametrize("kind", Kind)
def test_entry_of_each_kind(kind: Kind) -> None:
    """The event's name is the entry's kind."""
    (event,) = parse(SSE.entry(3, Entry(3, kind, AT, {"text": '"kind":"x"'}).encode())).events
    assert event.name == kind.value


def test_opening() -> None:
    """The first event is ``attached``, has no id, and carries a retry of its own."""
    opening = {"type": "attached", "job": "j", "status": "running", "after": 3, "last": 7}
    parsed = [parse(SSE.opening(opening)) for _ in range(50)]
    (event,) = parsed[0].events
    assert (event.name, json.loads(event.data), event.last_id) == ("attached", opening, "")
    retries = [one.retry_ms or 0 for one in parsed]
    assert 600 <= min(retries) < max(retries) <= 1800


def test_opening_is_no_open() -> None:
    """No event is called ``open`` or ``error``, which EventSource fires itself."""
    said = SSE.opening({}) + SSE.gap(Gap(1, 2, 3, 1)) + SSE.reconnect() + SSE.unavailable("x", "y")
    assert {event.name for event in parse(said).events} == {"attached", "gap", "reconnect", "unavailable"}
    assert not {kind.value for kind in Kind} & {"open", "error", "message"}


@pytest.mark.parametrize(("gap", "before"), [(Gap(3, 6, 9, 5), "5"), (Gap(3, None, None, 9), "9")])
def test_gap(gap: Gap, before: str) -> None:
    """A gap's id is where a reconnect goes on: before what is left, or at the log's end."""
    (event,) = parse(SSE.gap(gap)).events
    assert (event.name, event.last_id) == ("gap", before)
    shown = {"type": "gap", "requested": gap.requested, "earliest": gap.earliest, "latest": gap.latest}
    assert json.loads(event.data) == shown


def test_heartbeat() -> None:
    """A heartbeat is a comment: no event, and the last id for whoever looks at the bytes."""
    assert SSE.heartbeat(41) == b": 41\n\n"
    assert parse(encoded(*tokens(1, "a")) + SSE.heartbeat(1)).events[-1].last_id == "1"
    assert len(parse(SSE.heartbeat(41)).events) == 0


def test_what_is_no_entry_leaves_the_cursor() -> None:
    """What is no entry moves no cursor, so that a reconnect goes on after the last entry."""
    stream = encoded(*tokens(1, "a", "b")) + SSE.unavailable("x", "y") + SSE.reconnect()
    events = parse(stream).events
    assert [event.last_id for event in events] == ["1", "2", "2", "2"]
    assert all("kind" not in json.loads(event.data) for event in events[2:])


def test_unavailable_waits_longer_than_reconnect() -> None:
    """Who is told to go elsewhere comes soon; who is told to wait comes later; neither all at once."""
    waits = {parse(SSE.unavailable("x", "y")).retry_ms for _ in range(30)}
    comes = {parse(SSE.reconnect()).retry_ms for _ in range(30)}
    assert len(waits) > 5
    assert len(comes) > 5
    assert max(wait or 0 for wait in comes) < min(wait or 0 for wait in waits)


def test_one_object_serves_all_streams() -> None:
    """The format keeps nothing of a stream, so its encoded entries are the same for all."""
    before = dict(vars(SSE))
    SSE.entry(1, b'{"id":1,"kind":"token"}')
    SSE.heartbeat(1)
    assert vars(SSE) == before


def test_visible_heartbeat_is_an_event_without_an_id() -> None:
    """A heartbeat moves no cursor: its id would count as an entry's."""
    assert FORMATS["event"].heartbeat(7) == b'event: heartbeat\ndata: {"type":"heartbeat","last":7}\n\n'
