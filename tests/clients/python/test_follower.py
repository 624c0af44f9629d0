"""Decisions of a reader: when to come back, over which transport, and when to stop."""

from __future__ import annotations

import pytest

from spool_client.errors import SpoolError
from spool_client.follower import Follower
from spool_client.steps import Answer
from spool_client.timing import Timing
from tests.clients.python.play import (
    ATTACHED,
    BAD_GATEWAY,
    END,
    LOST,
    SILENCE,
    STREAM,
    Play,
    answer,
    done,
    event,
    record,
    token,
)


def follower(after: int = 0, *transports: str) -> Follower:
    return Follower("j", Timing(), after=after, transports=transports or ("sse", "long", "short", "answer"))


def test_follow_resumes_after_the_last_entry_when_cut() -> None:
    """After a cut in the middle the next connection asks for what follows the last entry, and nothing comes twice."""
    script = [STREAM, ATTACHED, event(token(1)), event(token(2)), LOST, STREAM, event(token(2)), event(done(3)), END]
    reader = follower()
    play = Play(reader.steps(), script)
    assert play.ids == [1, 2, 3]
    assert [request.path for request in play.requests] == ["/jobs/j/stream?after=0", "/jobs/j/stream?after=2"]
    assert play.requests[1].headers["Last-Event-ID"] == "2"
    assert 0 < play.pauses[0] <= 0.25
    assert (reader.log.text, reader.log.status, reader.connection) == ("xx", "succeeded", "ended")


def test_follow_backs_off_after_a_clean_end_that_brought_nothing() -> None:
    """Streams that open, bring nothing and end cleanly are asked for less and less often, up to 2.5 s."""
    empty = [STREAM, ATTACHED, END, record(0)]
    play = Play(follower().steps(), [*empty * 8, STREAM, event(done(1)), END])
    assert all(half <= pause <= 2 * half for pause, half in zip(play.pauses, [0.125, 0.25, 0.5, 1.0], strict=False))
    assert max(play.pauses) <= 2.5
    assert {request.path for request in play.requests} == {"/jobs/j/stream?after=0", "/jobs/j"}


def test_follow_while_the_server_is_away() -> None:
    """A lost server is no fault of the transport: the reader comes back over the same one."""
    play = Play(follower().steps(), [LOST, LOST] * 5 + [STREAM, event(done(1)), END])
    assert len(play.pauses) == 5
    assert play.requests[-1].path == "/jobs/j/stream?after=0"


def test_follow_steps_down_when_only_the_stream_is_refused() -> None:
    """Two refusals of a proxy, while the record answers, lead to the next transport without a further pause."""
    page = answer({"entries": [token(1), done(2)], "next": 2, "ended": True, "gap": None})
    play = Play(follower().steps(), [BAD_GATEWAY, record(1), BAD_GATEWAY, record(1), page])
    assert play.ids == [1, 2]
    assert len(play.pauses) == 1
    assert play.requests[-1].path == "/jobs/j/entries?after=0&wait=2"


def test_follow_steps_down_at_once_when_the_stream_is_held_back() -> None:
    """A stream without its first bytes while the record answers is held back: one such silence is enough."""
    page = answer({"entries": [done(1)], "next": 1, "ended": True, "gap": None})
    play = Play(follower().steps(), [SILENCE, record(1), page])
    assert play.pauses == []
    assert "/entries" in play.requests[-1].path


def test_follow_notices_a_connection_that_died_in_silence() -> None:
    """The record is ahead of a stream that brings nothing more: the reader leaves it for a new one, at once."""
    script = [STREAM, event(token(1)), SILENCE, record(5), STREAM, *map(event, map(token, (2, 3, 4, 5)))]
    play = Play(follower().steps(), [*script, event(done(6)), END])
    assert play.ids == [1, 2, 3, 4, 5, 6]
    assert play.pauses == []


def test_follow_is_patient_with_a_job_that_is_quiet() -> None:
    """Where the record agrees that there is nothing, the allowed silence doubles, up to more than a heartbeat."""
    quiet = [STREAM, ATTACHED, SILENCE, record(0, "queued")]
    play = Play(follower().steps(), [*quiet * 5, STREAM, event(done(1)), END])
    silences = [request.silence_s for request in play.requests if "stream" in request.path]
    assert silences == [2.5, 5.0, 10.0, 20.0, 20.0, 20.0]
    assert play.pauses == []


def test_follow_honours_the_time_that_a_draining_server_names() -> None:
    """``reconnect`` and ``unavailable`` name a time to come back, which is not undercut."""
    reconnect = [STREAM, ATTACHED, event({"type": "reconnect"}, retry_ms=3000), END, record(0)]
    unavailable = [STREAM, event({"type": "unavailable", "detail": "full", "reason": "x"}, retry_ms=9000), record(0)]
    play = Play(follower().steps(), [*reconnect, *unavailable, STREAM, event(done(1)), END])
    assert 3.0 <= play.pauses[0] <= 3.75
    assert 9.0 <= play.pauses[1] <= 11.25


def test_follow_honours_retry_after_on_other_transports() -> None:
    """A 429 with Retry-After is waited for, and costs the transport nothing."""
    busy = answer({"title": "Too many streams"}, 429, retry_after="7")
    page = answer({"entries": [done(1)], "next": 1, "ended": True, "gap": None})
    play = Play(follower(0, "long").steps(), [busy, record(0), page])
    assert 7.0 <= play.pauses[0] <= 8.75


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_follow_raises_what_the_server_refuses(status: int) -> None:
    """A refusal in Spool's words ends the loop; the error carries it."""
    refusal = answer({"title": "No such job", "detail": "no such job", "type": "about:blank"}, status)
    reader = follower()
    with pytest.raises(SpoolError) as caught:
        Play(reader.steps(), [refusal])
    assert (caught.value.status, caught.value.title, reader.connection) == (status, "No such job", "refused")
    assert caught.value.request == "GET /jobs/j/stream?after=0"


def test_follow_distrusts_a_refusal_that_is_not_the_servers() -> None:
    """A proxy's 404 page is a failure of the transport, not the job's end."""
    not_found = Answer(404, {"content-type": "text/html"}, b"<title>404</title>")
    page = answer({"entries": [done(1)], "next": 1, "ended": True, "gap": None})
    play = Play(follower().steps(), [not_found, record(0), not_found, record(0), page])
    assert play.ids == [1]


def test_follow_when_the_log_has_ended_already() -> None:
    """A cursor at the end gets 204; the record says that this is the end."""
    reader = follower(7)
    play = Play(reader.steps(), [Answer(204, {}), record(7, "failed")])
    assert play.items == []
    assert reader.log.status == "failed"


def test_follow_over_a_gap_takes_the_text_from_the_record() -> None:
    """Lost entries are reported, and the final text is whole."""
    gap = event({"type": "gap", "requested": 2, "earliest": 5, "latest": 6})
    script = [STREAM, event(token(1, "a")), gap, event(token(5, "z")), event(done(6)), record(6, "succeeded", "a b z")]
    reader = follower()
    play = Play(reader.steps(), [*script[:5], END, *script[5:]])
    assert [getattr(item, "type", item.kind) for item in play.items] == ["token", "gap", "token", "done", "snapshot"]
    assert (reader.log.text, reader.log.is_incomplete) == ("a b z", True)


def test_follow_restarted_forgets_the_text() -> None:
    """``restarted`` means that the text so far no longer counts."""
    entries = [token(1, "old"), {"id": 2, "kind": "restarted", "at": "", "attempt": 2}, token(3, "new"), done(4)]
    reader = follower()
    Play(reader.steps(), [STREAM, *map(event, entries), END])
    assert (reader.log.text, reader.log.attempt) == ("new", 2)


def test_follow_by_the_plain_record_alone() -> None:
    """Where nothing else is let through, the record's text is followed to its end."""
    reader = follower(0, "answer")
    play = Play(reader.steps(), [record(3, "running", "ab"), answer(None, 304), record(5, "succeeded", "abc")])
    assert [item.fields["text"] for item in play.items] == ["ab", "abc"]
    assert (reader.log.text, reader.log.status, reader.log.cursor) == ("abc", "succeeded", 5)


def test_follow_again_after_it_was_broken_off() -> None:
    """A loop that was left goes on after the last entry that it gave."""
    reader = follower()
    steps = reader.steps()
    step = next(steps)
    for given in (STREAM, event(token(1)) + event(token(2))):
        while not hasattr(step, "request") and type(step).__name__ != "Read":
            step = next(steps)
        step = steps.send(given)
    while type(step).__name__ != "Emit":
        step = next(steps)
    steps.close()
    assert Play(reader.steps(), [STREAM, event(token(2)), event(done(3)), END]).ids == [2, 3]


def test_follow_a_stream_that_was_changed_on_its_way() -> None:
    """Events that are not Spool's are a failure of the transport, never an exception of another kind."""
    nonsense = b"data: not json\n\n"
    page = answer({"entries": [done(1)], "next": 1, "ended": True, "gap": None})
    play = Play(follower().steps(), [STREAM, nonsense, record(0), STREAM, nonsense, record(0), page])
    assert play.ids == [1]
