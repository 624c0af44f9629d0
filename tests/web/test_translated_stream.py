"""Translated streams: a resume sends the same bytes as the whole stream, and reads only what nobody has read yet."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from spool.following.reader import Reader
from spool.jobs.entries import Kind
from spool.jobs.job import Job
from tests.web.logs import Followed, Logs, entries_of, job_of
from web.ag_ui.events import AgUiStream
from web.ai_sdk.ui_stream import UiMessageStream
from web.ai_sdk.workflow_stream import WorkflowStream
from web.checkpoints import Checkpoints, Translation
from web.ollama.lines import OllamaStream
from web.openai.chat_chunks import ChatChunks
from web.openai.response_events import ResponseStream
from web.translated_stream import TranslatedStream

ROWS = 500
Entries = list[tuple[Kind, dict[str, Any]]]
FORMATS: dict[str, Callable[[Job], Translation]] = {
    "responses": lambda job: ResponseStream(job, {"background": True}),
    "chat": lambda job: ChatChunks(job, wants_usage=True),
    "ai": lambda job: UiMessageStream(job, {}, again=False),
    "workflow": lambda job: WorkflowStream(job, {}),
    "ollama": lambda job: OllamaStream(job, is_chat=True, shows_thinking=True),
    "agui": lambda job: AgUiStream(job, {"threadId": "t", "runId": "r"}),
    "ai again": lambda job: UiMessageStream(job, {}, again=True),
}


def step(stream: TranslatedStream, reader: Reader, rows: int = ROWS) -> bytes | None:
    """The stream's next piece; None at the end of the log."""
    if reader.is_behind and (known := stream.replay(reader, bytes)) is not None:
        return known
    taken, gap, ended = reader.take_rows(rows)
    assert gap is None
    if taken:
        return stream.entries(taken)
    return None if ended or not reader.is_behind else b""


def sent(stream: TranslatedStream, reader: Reader, rows: int = ROWS) -> bytes:
    """All that the stream sends of the log."""
    pieces = [stream.opening()]
    while not stream.over and (piece := step(stream, reader, rows)) is not None:
        pieces.append(piece)
    return b"".join(pieces)


def resumed(
    logs: Logs, checkpoints: Checkpoints, after: int, *, rows: int = ROWS, live: int = 0, apart: int = 1
) -> bytes:
    """All that a response's stream sends after that event, with pages of so many ``rows``."""
    job = job_of(logs)
    translation = ResponseStream(job, {"background": True}, after=after)
    stream = TranslatedStream(checkpoints, job, translation, apart_bytes=apart)
    return sent(stream, Followed(logs, live=live).attach(job, 0), rows)


def events_of(whole: bytes) -> list[bytes]:
    """The numbered events of a response's stream, checked to be numbered from 0."""
    events = [event + b"\n\n" for event in whole.split(b"\n\n")[:-1]]
    numbered = [event for event in events if event.startswith(b"event: ")]
    assert [int(event.rpartition(b":")[2][:-3]) for event in numbered] == list(range(len(numbered)))
    return numbered


def replayed() -> float:
    """The entries that this process has translated for streams that were behind."""
    return REGISTRY.get_sample_value("spool_replayed_entries_total") or 0.0


TEXT = re.compile(rb'"(delta|content|reasoning_content)":("(?:[^"\\]|\\.)*")')


def said(data: bytes) -> list[tuple[bytes, bytes]]:
    """The events in these bytes, each with its text. Adjacent ones that differ in the text alone are joined, unless
    they have numbers."""
    found: list[tuple[bytes, bytes]] = []
    for event in data.split(b"\n\n")[:-1]:
        match = None if b'"sequence_number"' in event else TEXT.search(event)
        rest, text = (TEXT.sub(b"", event), match[2][1:-1]) if match else (event, b"")
        if match and found and found[-1][0] == rest:
            found[-1] = (rest, found[-1][1] + text)
        else:
            found.append((rest, text))
    return found


@st.composite
def logs_of(draw: st.DrawFn) -> Logs:
    """Logs with every kind of entry in any order, restarts with and without a jump of the ids, ended or running."""
    call = st.fixed_dictionaries({"index": st.integers(0, 2), "arguments": st.sampled_from(["", '{"a"', ":1}"])})
    usage = {"input_tokens": 1, "output_tokens": 2}
    text = st.sampled_from(["", "a", 'quoted " and\n\n', '"sequence_number":3}\n\n', "ό", "\U0001f600"])
    entry = st.one_of(
        st.tuples(st.just(Kind.TOKEN), text.map(lambda text: {"text": text})),
        st.tuples(st.just(Kind.REASONING), text.map(lambda text: {"text": text})),
        st.tuples(st.just(Kind.TOOL_CALL), call.map(lambda call: {"call_id": None, "name": "f", **call})),
        st.just((Kind.USAGE, usage)),
        st.just((Kind.WAITING, {"reason": "busy", "retry_at": "2026-11-21T09:30:00Z"})),
        st.just((Kind.RESTARTED, {"attempt": 2, "reason": "lost"})),
        st.just((Kind.CONTINUED, {"attempt": 2, "reason": "lost"})),
    )
    ends = [
        (Kind.DONE, {"finish_reason": "stop"}),
        (Kind.DONE, {"finish_reason": "length"}),
        (Kind.FAILED, {"error": {"code": "worker_lost", "message": "gone", "retryable": True}}),
        (Kind.CANCELLED, {}),
    ]
    entries: Entries = [(Kind.STARTED, {"attempt": 1, "model": "demo"}), *draw(st.lists(entry, max_size=40))]
    entries += [draw(st.sampled_from(ends))] if draw(st.booleans()) else []
    ids, at = [], 0
    for kind, _fields in entries:
        at += draw(st.sampled_from([1, 1000])) if kind is Kind.RESTARTED else 1
        ids.append(at)
    return Logs(entries, ids)


@given(logs=logs_of(), rows=st.integers(1, 9), limit=st.sampled_from([0, 4000, 1 << 20]), data=st.data())
def test_resume_after_any_event_of_any_log(logs: Logs, rows: int, limit: int, data: st.DataObject) -> None:
    """A resume after any event sends the tail of the whole stream, byte by byte: where checkpoints and pages are
    absent, there, and dropped again, and where the last entries are live."""
    whole = resumed(logs, Checkpoints(0), -1)
    events, shared = events_of(whole), Checkpoints(limit)
    end = whole[len(b"".join(events)) :]
    jumps = [n for n in range(1, len(logs.rows)) if logs.rows[n][0] - logs.rows[n - 1][0] > 1]
    most_live = len(logs.rows) - max(jumps, default=1)
    for after in data.draw(st.lists(st.integers(-1, len(events) + 2), min_size=1, max_size=12)):
        live = data.draw(st.integers(0, most_live))
        assert resumed(logs, shared, after, rows=rows, live=live) == b"".join(events[after + 1 :]) + end
        assert shared.size <= limit


@pytest.mark.parametrize("name", FORMATS)
def test_fork_changes_by_itself(name: str) -> None:
    """Two forks in the middle of an answer, of its text and of a call each send what the stream itself sends."""
    logs = Logs(entries_of(20))
    for at in (300, 610, len(logs.rows) - 13):
        stream = FORMATS[name](job_of(logs))
        stream.opening()
        stream.entries(logs.rows[:at])
        forks = [stream.fork(), stream.fork()]
        assert len({one.entries(logs.rows[at:]) for one in [*forks, stream]}) == 1


@given(logs=logs_of(), rows=st.integers(1, 9), limit=st.sampled_from([0, 4000, 1 << 20]))
@pytest.mark.parametrize("name", FORMATS)
def test_streams_share_bytes(name: str, logs: Logs, rows: int, limit: int) -> None:
    """Streams that share pages send the events of a stream that translates the log alone."""
    job, shared = job_of(logs), Checkpoints(limit)
    alone = sent(TranslatedStream(Checkpoints(0), job, FORMATS[name](job)), Followed(logs).attach(job, 0))
    for _ in range(3):
        stream = TranslatedStream(shared, job, FORMATS[name](job), apart_bytes=1)
        shared_data = sent(stream, Followed(logs).attach(job, 0), rows)
        assert shared_data == alone if name != "ai again" else said(shared_data) == said(alone)


@pytest.fixture(scope="module")
def long_log() -> tuple[Logs, list[bytes]]:
    """A log of several pages, and the events of its whole stream."""
    logs = Logs(entries_of(2500))
    return logs, events_of(resumed(logs, Checkpoints(0), -1))


@pytest.mark.parametrize("after", [-1, 0, 5, 499, 500, 501, 604, 1104, 2700, 3103, 3104, 3110, 3130, 99_999])
def test_resume_of_a_long_log(long_log: tuple[Logs, list[bytes]], after: int) -> None:
    """The same over several pages of the usual size, for the first resume and the second."""
    logs, events = long_log
    shared = Checkpoints()
    for _ in range(2):
        resent = resumed(logs, shared, after, apart=16 * 1024)
        assert resent == b"".join([*events[after + 1 :], b"data: [DONE]\n\n"])


@pytest.mark.parametrize("name", FORMATS)
def test_streams_read_a_log_once(name: str) -> None:
    """Streams of one job translate each entry once in all, whether they begin together or later."""
    logs, checkpoints = Logs(entries_of(3000)), Checkpoints()
    job, follower = job_of(logs), Followed(logs)
    before = replayed()
    streams = [
        (TranslatedStream(checkpoints, job, FORMATS[name](job), apart_bytes=1), follower.attach(job, 0))
        for _ in range(20)
    ]
    pieces = [[stream.opening()] for stream, _reader in streams]
    while not all(stream.over for stream, _reader in streams):
        for (stream, reader), got in zip(streams, pieces, strict=True):
            if not stream.over:
                got.append(step(stream, reader) or b"")
    later = sent(TranslatedStream(checkpoints, job, FORMATS[name](job)), follower.attach(job, 0))
    assert {b"".join(got) for got in pieces} == {later}
    assert replayed() - before == len(logs.rows)


def test_resumes_near_the_end_read_what_they_send() -> None:
    """After the first resume of a log, others that begin near its end read nothing before the page they begin in."""
    logs, checkpoints = Logs(entries_of(20_000)), Checkpoints()
    first = resumed(logs, checkpoints, 19_000, apart=16 * 1024)
    before = replayed()
    for after in range(19_000, 20_000, 50):
        assert first.endswith(resumed(logs, checkpoints, after, apart=16 * 1024))
    assert replayed() == before


def test_resume_of_a_running_log_begins_at_a_checkpoint() -> None:
    """Where a log runs, a resume reads less than two pages of it, and one whose number is still to come waits."""
    logs, checkpoints = Logs(entries_of(20_000)[:-1]), Checkpoints()
    resumed(logs, checkpoints, 30_000, apart=16 * 1024)
    before = replayed()
    assert resumed(logs, checkpoints, 30_000, apart=16 * 1024) == b""
    assert resumed(logs, checkpoints, 20_600, apart=16 * 1024)
    assert replayed() - before < 4 * ROWS


def test_another_attempt_shares_nothing() -> None:
    """Redis may lose entries before another attempt begins, so what was read of the attempt before does not count."""
    checkpoints, logs = Checkpoints(), Logs(entries_of(1000))
    resumed(logs, checkpoints, -1)
    other = Logs(entries_of(900))
    job = Job(job_of(logs).id, job_of(logs).status, "alice", "demo", 0.0, 1.0, attempt=1, last_entry=other.last)
    stream = TranslatedStream(checkpoints, job, ResponseStream(job, {}), apart_bytes=1)
    assert b"word 999" not in sent(stream, Followed(other).attach(job, 0))


def test_logs_used_last_are_kept() -> None:
    """Where there is no room, the log that was not used for the longest goes, and all of them are counted."""
    logs, checkpoints, follower = Logs(entries_of(1000)), Checkpoints(1 << 21), Followed(Logs(entries_of(1000)))
    jobs = [job_of(logs, f"j0-{n:026}") for n in range(20)]

    def read(job: Job) -> float:
        before = replayed()
        sent(TranslatedStream(checkpoints, job, ResponseStream(job, {})), follower.attach(job, 0))
        return replayed() - before

    for job in jobs:
        assert read(job) == len(logs.rows)
        assert read(jobs[0]) == 0
        assert checkpoints.size <= 1 << 21
    assert [read(job) for job in (jobs[-1], jobs[0], jobs[1])] == [0, 0, len(logs.rows)]


def test_text_of_checkpoints_is_shared() -> None:
    """The checkpoints of a long text take little more memory than the text, and no more than they count."""
    logs, checkpoints = Logs([(Kind.TOKEN, {"text": f"word {n} " * 4}) for n in range(10_000)]), Checkpoints()
    text = sum(len(f"word {n} " * 4) for n in range(10_000))
    tracemalloc.start()
    try:
        resumed(logs, checkpoints, 30_000, apart=16 * 1024)
        taken, _most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert text < taken < 2 * text
    assert text < checkpoints.size < 2 * text


@pytest.mark.parametrize(("name", "deltas"), [("ai again", 3), ("ai", 1200), ("chat", 1200), ("responses", 1200)])
def test_text_from_the_log_is_joined(name: str, deltas: int) -> None:
    """On a resume of ``/ai`` a page of text is one delta; elsewhere each entry is one."""
    logs = Logs([(Kind.TOKEN, {"text": "ab"})] * 1200)
    job = job_of(logs)
    data = sent(TranslatedStream(Checkpoints(), job, FORMATS[name](job)), Followed(logs).attach(job, 0))
    assert data.count(b'"ab') == deltas
