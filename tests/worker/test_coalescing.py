"""Text that is held back: which pieces become one entry, when, and what becomes of it when the attempt ends."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, groupby
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.deadline import Deadline
from spool.errors import StoreUnavailable
from spool.jobs.claims import Claims
from spool.jobs.coalescing import Coalescing
from spool.jobs.entries import Entry, Kind
from spool.jobs.shards import Shards
from spool.models.model import DEMO
from spool.redis.link import RedisLink
from tests.by_hand import OwnAttempts, claimed
from worker.attempt import Attempt, HandBack
from worker.attempt_log import BUFFER_BYTES, AttemptLog, AttemptOver
from worker.backends import (
    BackendError,
    Finish,
    GenerationRequest,
    Piece,
    Reasoning,
    Text,
    ToolCall,
    Usage,
    Waiting,
)
from worker.coalescing import CoalescedLog, DueQueue

MIB = 1024 * 1024
PIECE = st.tuples(st.sampled_from([Kind.TOKEN, Kind.REASONING]), st.text(st.characters(exclude_categories=["Cs"])))


class Scene:
    """One attempt that coalesces, a clock that is set by hand, and what its log has."""

    def __init__(self, ms: int = 1000, chars: int = 1000, *, sentence_end: bool = False) -> None:
        self.now = 0.0
        self.queue = DueQueue(clock=lambda: self.now)
        self.log = attempt_log(Coalescing(ms, chars, sentence_end))
        output = self.queue.output(self.log)
        assert isinstance(output, CoalescedLog)
        self.output = output

    def say(self, *texts: str, kind: Kind = Kind.TOKEN) -> None:
        """The job writes text."""
        for text in texts:
            self.output.append_text(kind, text, text.encode() if kind is Kind.TOKEN else b"")

    def after(self, seconds: float) -> None:
        """Time passes, and whoever is due has a turn."""
        self.now += seconds
        self.queue.give_turns()

    def commit(self) -> None:
        """Redis takes everything."""
        self.log.answered(self.log.last)

    @property
    def entries(self) -> list[tuple[Kind, Any]]:
        """Kind and text of what was written and is not committed yet."""
        return entries_of(self.log)


def attempt_log(how: Coalescing | None) -> AttemptLog:
    """The log of an attempt whose job has this in its record."""
    return AttemptLog(claimed(coalesce=how), lambda _log: None, OwnAttempts())


def entries_of(log: AttemptLog) -> list[tuple[Kind, Any]]:
    """Kind and text of each pending entry, which adds its text to the answer if it is a token."""
    args = log.pending()
    if args is None:
        return []
    found = [Entry.decode(raw) for raw in args[8:] if isinstance(raw, bytes)]
    text = "".join(entry.fields["text"] for entry in found if entry.kind is Kind.TOKEN)
    assert args[7] == text.encode()
    return [(entry.kind, entry.fields.get("text")) for entry in found]


@pytest.mark.parametrize("how", [None, Coalescing(0)])
def test_job_that_does_not_coalesce_writes_to_its_log(how: Coalescing | None) -> None:
    """Where nothing is held back nothing stands between the job and its log."""
    log = attempt_log(how)
    assert DueQueue().output(log) is log


def test_text_is_written_when_its_first_piece_has_waited() -> None:
    """What came within the time is one entry, written when the time is up and not before, and the next text has a time
    of its own."""
    scene = Scene(ms=100)
    scene.say("a")
    scene.after(0.06)
    scene.say("b")
    scene.after(0.03)
    assert scene.entries == []
    scene.after(0.02)
    assert scene.entries == [(Kind.TOKEN, "ab")]
    scene.commit()
    scene.say("c")
    scene.after(0.09)
    assert scene.entries == []
    scene.after(0.02)
    assert scene.entries == [(Kind.TOKEN, "c")]


def test_text_is_written_when_it_is_long_enough() -> None:
    """Text that has its size is an entry at once; a piece that would make it longer begins the next one."""
    scene = Scene(chars=5)
    scene.say("ab", "cde")
    assert scene.entries == [(Kind.TOKEN, "abcde")]
    scene.commit()
    scene.say("ab", "cdef")
    assert scene.entries == [(Kind.TOKEN, "ab")]
    scene.say("ghijkl")
    assert scene.entries == [(Kind.TOKEN, "ab"), (Kind.TOKEN, "cdef"), (Kind.TOKEN, "ghijkl")]


@pytest.mark.parametrize("end", ["a.", "a!", "?", "…", "end.) ", '."', "。", "！", "？", "a\nb", "one. Two"])
def test_sentence_end(end: str) -> None:
    """A piece in which a sentence ends is the last of its entry, where the job wants that."""
    for wanted in (True, False):
        scene = Scene(sentence_end=wanted)
        scene.say("The ", end)
        assert scene.entries == ([(Kind.TOKEN, f"The {end}")] if wanted else [])


@pytest.mark.parametrize("text", ["a", "a,", "3.14", "example.com", "", " "])
def test_no_sentence_end(text: str) -> None:
    """A full stop within a word ends no sentence."""
    scene = Scene(sentence_end=True)
    scene.say("The ", text)
    assert scene.entries == []


def test_text_of_another_kind_is_another_entry() -> None:
    """Reasoning and answer are never put together, and keep their order."""
    scene = Scene()
    scene.say("I ", "think", kind=Kind.REASONING)
    scene.say("so", "!")
    scene.say("more", kind=Kind.REASONING)
    assert scene.entries == [(Kind.REASONING, "I think"), (Kind.TOKEN, "so!")]
    scene.commit()
    scene.after(2)
    assert scene.entries == [(Kind.REASONING, "more")]


@pytest.mark.parametrize("kind", [Kind.USAGE, Kind.WAITING, Kind.TOOL_CALL])
def test_other_entry_comes_after_the_text_before_it(kind: Kind) -> None:
    """Anything that is no text is written at once, behind what was held."""
    scene = Scene()
    scene.say("a", "b")
    scene.output.append(kind, {})
    assert scene.entries == [(Kind.TOKEN, "ab"), (kind, None)]


@given(st.lists(st.one_of(PIECE, st.floats(0, 2))), st.integers(1, 40), st.booleans())
def test_nothing_is_lost_or_moved(steps: list[tuple[Kind, str] | float], chars: int, sentence_end: bool) -> None:
    """Whatever comes when, the entries are the pieces in their order, none of them divided, and an entry of several has
    no more characters than it may."""
    scene = Scene(chars=chars, sentence_end=sentence_end)
    said = [step for step in steps if isinstance(step, tuple)]
    written: list[tuple[Kind, str]] = []
    for step in steps:
        if isinstance(step, tuple):
            scene.say(step[1], kind=step[0])
        else:
            written += scene.entries
            scene.commit()
            scene.after(step)
    written += scene.entries
    scene.commit()
    scene.output.flush(Deadline.after(0))
    written += scene.entries
    assert runs(written) == runs(said)
    assert ends(written) <= ends(said)
    assert all(len(text) <= max(chars, *(len(piece) for _, piece in said)) for _, text in written)


def runs(texts: list[tuple[Kind, str]]) -> list[tuple[Kind, str]]:
    """The texts, neighbours of one kind as one."""
    return [(kind, "".join(text for _, text in group)) for kind, group in groupby(texts, key=lambda one: one[0])]


def ends(texts: list[tuple[Kind, str]]) -> set[int]:
    """Where in all of it each text ends."""
    return set(accumulate(len(text) for _, text in texts))


# One queue for all jobs of a process


def test_jobs_of_different_intervals() -> None:
    """Each text has its own time, in whatever order they came, and the queue knows the next."""
    scenes = [Scene(ms=ms) for ms in (500, 100, 300)]
    queue, first = scenes[0].queue, scenes[0]
    outputs = [queue.output(scene.log) for scene in scenes]
    for output in outputs:
        output.append_text(Kind.TOKEN, "x", b"x")
    for number, left_s in ((1, 0.1), (2, 0.2), (0, 0.2)):
        assert queue.left_s() == pytest.approx(left_s)
        assert not scenes[number].entries
        first.after(left_s)
        assert scenes[number].entries == [(Kind.TOKEN, "x")]
    assert queue.left_s() is None


def test_queue_has_one_place_for_each_attempt() -> None:
    """However many entries an attempt makes within its time, it is in the queue once, and has a turn for each time."""
    scene = Scene(ms=1000, chars=2)
    asked: list[float] = []
    add = scene.queue.add

    def noted(due: float, held: CoalescedLog) -> None:
        asked.append(due)
        add(due, held)

    scene.queue.add = noted  # type: ignore[method-assign]
    scene.say(*["x"] * 1000)
    scene.after(0.5)
    scene.say("x")
    assert asked == [1.0]
    scene.commit()
    scene.after(0.5)
    assert scene.entries == []
    scene.after(0.5)
    assert scene.entries == [(Kind.TOKEN, "x")]
    assert scene.queue.left_s() is None


def test_attempt_that_is_over_is_not_kept() -> None:
    """The queue holds no attempt in memory that nobody else holds."""
    scene = Scene()
    scene.say("a")
    texts = [scene.log, scene.output]
    del scene.log, scene.output
    texts.clear()
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is CoalescedLog]
    scene.after(2)
    assert scene.queue.left_s() is None


def test_silent_backend() -> None:
    """Held text is written by the queue's own greenlet, which waits for whoever comes first."""
    queue, logs = DueQueue(), [attempt_log(Coalescing(ms)) for ms in (600_000, 1)]
    greenlet = gevent.spawn(queue.run)
    gevent.sleep(0)
    outputs = [queue.output(log) for log in logs]
    for output in outputs:
        output.append_text(Kind.TOKEN, "x", b"x")
    with gevent.Timeout(60):
        while not entries_of(logs[1]):
            gevent.sleep(0.001)
    assert not entries_of(logs[0])
    greenlet.kill()


def test_queue_waits_for_nobody() -> None:
    """Text that is due while Redis does not have what came before is held on and grows; another job's is written."""
    scene, other = Scene(ms=100), attempt_log(Coalescing(100))
    scene.say("a")
    scene.output.append(Kind.USAGE, {})
    scene.say("b")
    output = scene.queue.output(other)
    output.append_text(Kind.TOKEN, "x", b"x")
    scene.after(0.1)
    assert [kind for kind, _ in scene.entries] == [Kind.TOKEN, Kind.USAGE]
    assert entries_of(other) == [(Kind.TOKEN, "x")]
    scene.say("c")
    scene.commit()
    scene.after(0.1)
    assert scene.entries == [(Kind.TOKEN, "bc")]


@pytest.mark.parametrize("outcome", ["lost", "cancelled"])
def test_attempt_that_is_over(outcome: str) -> None:
    """What is held when the attempt is over is dropped, and the next piece says why."""
    scene = Scene()
    scene.say("a")
    scene.log.over(outcome)
    scene.after(2)
    assert scene.log.last == 1
    scene.say("b")
    with pytest.raises(AttemptOver) as caught:
        scene.output.append(Kind.USAGE, {})
    assert caught.value.outcome == outcome
    with pytest.raises(AttemptOver):
        scene.output.flush(Deadline.never())


def test_full_buffer_holds_the_job_up() -> None:
    """A job that coalesces waits for Redis as any other, and loses nothing by it."""
    scene = Scene(ms=10_000, chars=4000)
    job = gevent.spawn(scene.say, *["x" * 1000] * 2000)
    gevent.sleep(0)
    assert not job.ready()
    assert BUFFER_BYTES * 0.9 < scene.log.last * 4000 < BUFFER_BYTES * 1.1
    written: list[tuple[Kind, Any]] = []
    while not job.ready() or scene.log.behind:
        written += scene.entries
        scene.log.answered(scene.log.sent)
        gevent.sleep(0)
    assert written == [(Kind.TOKEN, "x" * 4000)] * 500


def test_flush_without_room() -> None:
    """Where Redis takes nothing in time, what is held is left to whoever generates it again, never written later."""
    scene = Scene(ms=100)
    scene.output.append(Kind.USAGE, {})
    scene.say("a")
    assert not scene.output.flush(Deadline.after(0))
    scene.commit()
    scene.after(1)
    assert scene.entries == []


# The attempt


class Says:
    """A backend that yields these pieces, and raises what is no piece."""

    def __init__(self, *pieces: Piece | BaseException) -> None:
        self._pieces = pieces

    def generate(self, _request: GenerationRequest) -> Iterator[Piece]:
        for piece in self._pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece


class HandsBack(Claims):
    """Claims that note what the log had when the job was handed back."""

    def __init__(self, look: Callable[[], object]) -> None:
        super().__init__(Shards.on(RedisLink("unix:///nowhere")), worker="w", lease_s=10, max_attempts=3)
        self._look = look
        self.found: object = None

    def hand_back(self, *_args: object, **_options: object) -> str:
        self.found = self._look()
        raise StoreUnavailable("away")


def run(*pieces: Piece | BaseException) -> tuple[list[tuple[Kind, Any]], HandsBack]:
    """What an attempt writes whose backend says this, each commit at once, and how it was handed back."""
    entries: list[tuple[Kind, Any]] = []
    log = attempt_log(Coalescing(10_000))

    def commit(_log: AttemptLog) -> None:
        entries.extend(entries_of(log))
        log.answered(log.last)

    log._changed = commit
    claims = HandsBack(lambda: list(entries))
    backend, queue = Says(*pieces), DueQueue()
    Attempt(log.claim, DEMO, backend, log, claims, max_output_bytes=MIB, output=queue.output(log)).run()
    return entries, claims


HELD = (Text("a"), Text("b"))


def test_attempt_that_ends() -> None:
    """Each piece that is no text ends the text before it, the end as well; the usage is what the model said."""
    waiting, call = Waiting("busy", 0.0), ToolCall(0, "c", "f", "{}")
    usage: Mapping[str, Any] = {"input_tokens": 3, "output_tokens": 7}
    entries, _ = run(Reasoning("r"), Reasoning("s"), waiting, *HELD, call, *HELD, Usage(**usage), *HELD, Finish("stop"))
    texts = [text for _, text in entries]
    assert texts == ["rs", None, "ab", None, "ab", None, "ab", None]
    kinds = [kind for kind, _ in entries][1::2]
    assert kinds == [Kind.WAITING, Kind.TOOL_CALL, Kind.USAGE, Kind.DONE]


@pytest.mark.parametrize("wrong", [BackendError("x", "y", retryable=False), RuntimeError("a bug"), Text("x" * 2 * MIB)])
def test_attempt_that_fails(wrong: Piece | BaseException) -> None:
    """What was said before a failure is in the log before it."""
    entries, _ = run(*HELD, wrong)
    assert entries == [(Kind.TOKEN, "ab"), (Kind.FAILED, None)]


BROKE_OFF = BackendError("x", "y", retryable=True, interrupted=True)


@pytest.mark.parametrize(
    ("why", "rest"), [(HandBack(), []), (BROKE_OFF, [(Kind.WAITING, None)])], ids=["stopped", "broke off"]
)
def test_attempt_that_is_handed_back(why: BaseException, rest: list[tuple[Kind, Any]]) -> None:
    """What is held is in the log before the job is handed back; after an answer that broke off it waits first."""
    _, claims = run(*HELD, why)
    assert claims.found == [(Kind.TOKEN, "ab"), *rest]


@pytest.mark.parametrize("outcome", ["lost", "cancelled"])
def test_attempt_that_is_ended_from_outside(outcome: str) -> None:
    """What is held of a lost or cancelled attempt is dropped."""
    entries, claims = run(*HELD, AttemptOver(outcome))
    assert (entries, claims.found) == ([], None)
