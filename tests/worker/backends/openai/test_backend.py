"""The backend for OpenAI-compatible servers, against one that does what its script says."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.deadline import Deadline
from spool.models.model import Model, Upstream
from tests.clock import Clock
from tests.scripted_upstream import Call, Script, ScriptedUpstream, refuses, says, sends, wait_until
from worker.backends import (
    Alive,
    BackendError,
    Complete,
    File,
    Finish,
    GenerationRequest,
    Piece,
    Reasoning,
    Text,
    ToolCall,
    Unstreamed,
    Usage,
    Waiting,
)
from worker.backends.openai.backend import OpenAICompatible
from worker.backends.openai.backoff import Backoff, Refusal
from worker.backends.openai.chunks import MAX_TOOL_CALLS
from worker.backends.openai.gate import Passage, UpstreamGate
from worker.backends.openai.sse import SSEDecoder
from worker.backends.openai.stream_pieces import MAX_SILENT_BYTES

SECRET = "sk-very-secret-0123456789"
MODEL = Model(name="small", backend="openai", upstream="gpu", upstream_model="org/small-1b")
QUICK = Backoff(first_s=0.05, most_s=0.2, patience_s=2.0)
USER = ({"role": "user", "content": "hello"},)


def ask(**more: Any) -> GenerationRequest:
    return GenerationRequest(**{"job_id": "j1", "model": MODEL, "messages": USER, **more})


def backend_for(upstream: ScriptedUpstream, backoff: Backoff = QUICK, **more: Any) -> OpenAICompatible:
    fields = {"name": "gpu", "url": upstream.url, "api_key": SECRET, **more}
    return OpenAICompatible([Upstream(**fields)], backoff=backoff)


@pytest.fixture
def run() -> Callable[..., tuple[list[Piece], ScriptedUpstream]]:
    """Runs one job against scripts: its pieces, and the upstream that it saw."""

    def run(*scripts: Script, **more: Any) -> tuple[list[Piece], ScriptedUpstream]:
        with ScriptedUpstream(*scripts) as upstream, closing(backend_for(upstream)) as backend:
            pieces = [piece for piece in backend.generate(ask(**more)) if not isinstance(piece, Complete | Alive)]
            return pieces, upstream

    return run


def failure(*scripts: Script, pieces: list[Piece] | None = None, **more: Any) -> BackendError:
    """How one job against scripts fails; what it got before goes to ``pieces``."""
    with ScriptedUpstream(*scripts) as upstream, closing(backend_for(upstream)) as backend:
        return fails(backend, [] if pieces is None else pieces, ask(**more))


def fails(backend: OpenAICompatible, pieces: list[Piece], request: GenerationRequest) -> BackendError:
    """How the job fails; ``pieces`` gets what came before."""
    with pytest.raises(BackendError) as caught:
        pieces.extend(backend.generate(request))
    return caught.value


def fails_after_waiting(backend: OpenAICompatible, clock: Clock) -> BackendError:
    """How a job fails whose deadline comes while it waits for the first time."""

    def pieces() -> Iterator[Piece]:
        for piece in backend.generate(ask(deadline=Deadline.after(1, clock))):
            clock.now += isinstance(piece, Waiting)
            yield piece

    with pytest.raises(BackendError) as caught:
        list(pieces())
    return caught.value


# What is sent


def test_request_carries_params_but_not_over_ours(run: Any) -> None:
    """Params go to the upstream as they came; model, messages and stream stay ours."""
    params = {"temperature": 0, "x_custom": {"a": [1]}, "model": "other", "messages": [], "stream": False}
    _, upstream = run(says("hi"), params=params)
    body = upstream.calls[0].body
    assert body["temperature"] == 0
    assert body["x_custom"] == {"a": [1]}
    assert (body["model"], body["messages"], body["stream"]) == ("org/small-1b", list(USER), True)
    assert body["stream_options"] == {"include_usage": True}
    assert upstream.calls[0].headers["authorization"] == f"Bearer {SECRET}"


def test_request_without_a_key_sends_none_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's OPENAI_API_KEY is for OpenAI, and not for every upstream that needs no key."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with ScriptedUpstream(says("hi")) as upstream, closing(backend_for(upstream, api_key="")) as backend:
        list(backend.generate(ask()))
    assert SECRET not in str(upstream.calls[0].headers)


def test_request_to_azure_names_deployment_and_version() -> None:
    """Azure gets its path, its version and its own header."""
    azure = {"kind": "azure", "deployment": "mine", "api_version": "2024-10-21"}
    with ScriptedUpstream(says("hi")) as upstream:
        url = upstream.url.removesuffix("/v1")
        with closing(backend_for(upstream, url=url, **azure)) as backend:
            assert text_of(list(backend.generate(ask()))) == "hi"
    call = upstream.calls[0]
    assert call.path == "/openai/deployments/mine/chat/completions?api-version=2024-10-21"
    assert call.headers["api-key"] == SECRET


def test_request_for_usage_that_is_refused_is_made_without_it() -> None:
    """A server that knows no stream_options is asked without them, now and from then on."""
    scripts = (refuses(400, "Unknown field: stream_options"), says("one"), says("two"))
    with ScriptedUpstream(*scripts) as upstream, closing(backend_for(upstream)) as backend:
        assert text_of(list(backend.generate(ask()))) == "one"
        assert text_of(list(backend.generate(ask()))) == "two"
    assert ["stream_options" in call.body for call in upstream.calls] == [True, False, False]


WHOLE = {
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "Let me see.",
                "reasoning_content": "Hm.",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
            },
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}
PIECES_OF_WHOLE = [
    Reasoning("Hm."),
    Text("Let me see."),
    ToolCall(0, "c1", "look", "{}"),
    Usage(3, 2),
    Finish("tool_calls"),
]


def answers_whole(call: Call) -> None:
    call.json(200, WHOLE)


def test_model_that_does_not_stream_is_asked_for_whole_answers(run: Any) -> None:
    """A model with ``stream = false`` is asked without it; its answer is the same pieces, the text as one."""
    params = {"stream_options": {"include_usage": True}, "seed": 1}
    pieces, upstream = run(answers_whole, model=replace(MODEL, streams=False), params=params)
    assert pieces == [Unstreamed(), *PIECES_OF_WHOLE]
    asked = {"model": "org/small-1b", "messages": list(USER), "stream": False, "seed": 1}
    assert upstream.calls[0].body == asked


@pytest.mark.parametrize(
    "refusal",
    [
        refuses(400, "Unsupported value: 'stream' does not support true with this model."),
        refuses(422, "streaming is not supported"),
        refuses(501, "This server cannot stream"),
    ],
    ids=["value", "not supported", "cannot"],
)
def test_stream_that_is_refused_is_asked_for_whole(refusal: Script) -> None:
    """A server that refuses to stream is asked for whole answers, now and from then on, without a wait."""
    with ScriptedUpstream(refusal, answers_whole) as upstream, closing(backend_for(upstream)) as backend:
        for _ in range(2):
            pieces = [piece for piece in backend.generate(ask()) if not isinstance(piece, Unstreamed)]
            assert pieces == PIECES_OF_WHOLE
    assert [call.body["stream"] for call in upstream.calls] == [True, False, False]


def quotes(call: Call) -> None:
    """A refusal that quotes the caller's text."""
    call.json(400, {"error": {"message": "invalid input: 'streaming is not supported; stream_options'"}})


def refuses_tools_in_streams(call: Call) -> None:
    """A server that takes tools, but not in a stream."""
    (refuses(400, "Cannot use tools with stream") if call.body["stream"] else answers_whole)(call)


@pytest.mark.parametrize(
    ("scripts", "params"),
    [((quotes, quotes, quotes), {}), ((refuses_tools_in_streams, refuses_tools_in_streams), {"tools": [{}]})],
    ids=["quoted text", "tools"],
)
def test_refusal_due_to_the_job_alone(scripts: tuple[Script, ...], params: dict[str, Any]) -> None:
    """A refusal to stream that a job's own text or params cause changes nothing for the jobs of others."""
    with ScriptedUpstream(*scripts, says("hi")) as upstream, closing(backend_for(upstream)) as backend:
        with suppress(BackendError):
            list(backend.generate(ask(params=params)))
        assert text_of(list(backend.generate(ask()))) == "hi"
    body = upstream.calls[-1].body
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_refusal_that_only_names_a_stream() -> None:
    """A refusal about something else is the job's error, although it contains the word."""
    error = failure(refuses(400, "max_tokens is too large for a stream of this model"))
    assert error.code == "upstream_rejected"


def test_stream_that_is_ignored(run: Any) -> None:
    """A server that ignores ``stream`` answers with a whole completion, which counts as such."""
    pieces, _ = run(answers_whole)
    assert pieces == PIECES_OF_WHOLE


@pytest.mark.parametrize("choices", [None, [], {}, [7], [{"message": "text"}]], ids=repr)
def test_whole_answer_that_is_none(choices: Any) -> None:
    """What is no completion is garbage, also without a stream."""
    error = failure(lambda call: call.json(200, {"choices": choices}), model=replace(MODEL, streams=False))
    assert error.code == "upstream_garbage"


# What comes back


def text_of(pieces: list[Piece]) -> str:
    return "".join(p.text for p in pieces if isinstance(p, Text))


def test_answer_comes_in_order_with_usage_and_finish(run: Any) -> None:
    """Text piece by piece, then what was counted, then one Finish."""
    pieces, _ = run(says("Hel", "lo", usage=(3, 2)))
    assert pieces == [Text("Hel"), Text("lo"), Usage(3, 2), Finish("stop")]


def test_answer_with_reasoning_and_tool_calls_keeps_them_apart(run: Any) -> None:
    """Both names for reasoning are read; the pieces of a tool call keep their index."""

    def script(call: Call) -> None:
        call.begin()
        call.delta(reasoning_content="hm")
        call.delta(reasoning="m")
        call.delta(tool_calls=[{"index": 1, "id": "c1", "function": {"name": "f", "arguments": '{"a"'}}])
        call.delta(tool_calls=[{"index": 1, "function": {"arguments": ":1}"}}])
        call.done("tool_calls")

    pieces, _ = run(script)
    assert pieces == [
        Reasoning("hm"),
        Reasoning("m"),
        ToolCall(1, "c1", "f", '{"a"'),
        ToolCall(1, None, None, ":1}"),
        Finish("tool_calls"),
    ]


def test_answer_split_inside_characters_is_whole(run: Any) -> None:
    """Network reads may end anywhere, also inside a character; U+2028 ends no line."""
    text = "größer 日本 🙂\u2028end\u0085."
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}
    stream = f"data: {json.dumps(chunk, ensure_ascii=False)}\n\ndata: [DONE]\n\n".encode()
    pieces, _ = run(sends(*(stream[i : i + 1] for i in range(len(stream)))))
    assert pieces == [Text(text), Finish("stop")]


@pytest.mark.parametrize("newline", ["\r\n", "\r", "\n"])
def test_answer_with_any_line_end_is_read(run: Any, newline: str) -> None:
    """CR, LF and CRLF end lines; comments and fields of no use are skipped."""
    lines = (": ping", "event: x", 'data: {"choices":[{"delta":{"content":"a"}}]}', "", "data:[DONE]", "", "")
    pieces, _ = run(sends(newline.join(lines).encode()))
    assert pieces == [Text("a"), Finish("stop")]


@given(st.binary(max_size=60), st.lists(st.integers(0, 60)))
def test_decoder_split_anywhere_gives_the_same_events(noise: bytes, cuts: list[int]) -> None:
    """How the bytes were split into reads makes no difference."""
    stream = b"data: a\r\ndata: b\r\n\r\n" + noise + b"\n\ndata: z\r\r"
    places = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
    split = SSEDecoder()
    parts = [event for a, b in pairwise(places) for event in split.feed(stream[a:b])]
    assert parts == list(SSEDecoder().feed(stream))
    assert parts[0] == b"a\nb"


def test_answer_without_done_ends_with_its_finish_reason(run: Any) -> None:
    """Some servers send no [DONE]; and what is lost after the finish reason is not the answer."""

    def script(call: Call) -> None:
        call.begin()
        call.text("a")
        call.delta("length")
        call.drop()

    pieces, _ = run(script)
    assert pieces == [Text("a"), Finish("length")]


# What breaks


def test_answer_that_stops_without_an_end_is_interrupted() -> None:
    """A stream that just ends is no answer: nothing is invented."""
    pieces: list[Piece] = []
    error = failure(sends(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'), pieces=pieces)
    assert pieces == [Text("a")]
    assert (error.code, error.retryable, error.interrupted) == ("upstream_interrupted", True, True)


def cut(call: Call) -> None:
    call.begin()
    call.text("a")
    call.drop()


def reports_error(call: Call) -> None:
    call.begin()
    call.text("a")
    call.event({"error": {"message": "CUDA out of memory", "code": 500}})


@pytest.mark.parametrize("script", [cut, reports_error])
def test_error_after_the_first_piece_is_interrupted(script: Script) -> None:
    """After the first piece nothing is tried again here: whoever has the text decides."""
    error = failure(script)
    assert (error.code, error.retryable, error.interrupted) == ("upstream_interrupted", True, True)
    assert error.upstream == ({"status": 500} if script is reports_error else None)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "long", "code": "context_length_exceeded", "param": "messages"}, 400),
        ({"message": "pay", "type": "insufficient_quota", "code": "insufficient_quota"}, 429),
        ({"message": "filtered", "code": "content_filter", "status": 400}, 400),
    ],
    ids=["context", "quota", "filter"],
)
def test_rejection_after_the_first_piece_is_final(error: dict[str, Any], status: int) -> None:
    """After the first piece, an error that another attempt would get as well ends the job, with its own names."""

    def script(call: Call) -> None:
        call.begin()
        call.text("a")
        call.event({"error": error})

    found = failure(script)
    assert (found.code, found.retryable, found.interrupted) == ("upstream_interrupted", False, False)
    named = {name: error[name] for name in ("code", "type", "param") if name in error}
    assert found.upstream == {"status": status, **named}


def test_error_text_before_the_first_piece_fails_without_waiting() -> None:
    """An error in the stream that names no status is shown, and is not waited out."""
    error = failure(sends(b'data: {"error": "shape mismatch"}\n\n'))
    assert (error.code, error.retryable, error.interrupted) == ("upstream_error", True, False)
    assert "shape mismatch" in error.message


@pytest.mark.parametrize(
    "data", [b"{not json", b'"text"', b'{"choices":[7]}', b'{"choices":[{"delta":{"content":[]x', b"\xff"]
)
def test_garbage_in_the_stream_is_named(data: bytes) -> None:
    """What is no chunk of a chat completion is garbage, not text."""
    assert failure(sends(b"data: " + data + b"\n\n")).code == "upstream_garbage"


def test_audio_of_a_model(run: Any) -> None:
    """The transcript is the answer's text, piece by piece, and the sound one file at its end."""

    def script(call: Call) -> None:
        call.begin()
        call.delta(audio={"id": "audio_1", "transcript": "Hel"})
        call.delta(audio={"data": base64.b64encode(b"RIFF").decode()})
        call.delta(audio={"transcript": "lo", "data": base64.b64encode(b"sound").decode()})
        call.delta(audio={"expires_at": 1})
        call.done()

    pieces, _upstream = run(script)
    said = [piece for piece in pieces if isinstance(piece, Text | File)]
    assert said == [Text("Hel"), Text("lo"), File("audio/wav", b"RIFFsound")]
    assert isinstance(pieces[-1], Finish)


@pytest.mark.parametrize("kind", ["pcm16", "mp3"])
def test_format_of_audio(run: Any, kind: str) -> None:
    """Only samples stream at OpenAI: other formats are asked for as a whole."""
    audio = {"id": "audio_1", "data": base64.b64encode(b"\xff\xfb").decode(), "transcript": "Hi", "expires_at": 1}

    def script(call: Call) -> None:
        if call.body["stream"]:
            call.begin()
            call.delta(audio=audio)
            call.done()
        else:
            message = {"role": "assistant", "content": None, "audio": audio}
            call.json(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    params = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": kind}}
    pieces, upstream = run(script, params=params)
    said = [piece for piece in pieces if isinstance(piece, Text | File)]
    assert said == [Text("Hi"), File("audio/pcm" if kind == "pcm16" else "audio/mpeg", b"\xff\xfb")]
    assert (upstream.calls[0].body["stream"], upstream.calls[0].body["audio"]) == (kind == "pcm16", params["audio"])


def test_answer_that_is_no_event_stream_is_garbage() -> None:
    """Another document, or a login page, is told apart from an answer."""
    error = failure(lambda call: call.json(200, {"choices": []}))
    assert error.code == "upstream_garbage"
    assert "application/json" in error.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501])
def test_rejection_shows_the_upstreams_message(status: int) -> None:
    """What cannot succeed later fails at once, in the upstream's words."""
    error = failure(refuses(status, "context too long"))
    assert (error.code, error.retryable) == ("upstream_rejected", False)
    assert f"HTTP {status}: context too long" in error.message


def test_rejection_is_bounded_and_keeps_the_key_secret() -> None:
    """An upstream that repeats the key, or a page, does not get it into the job's error."""
    error = failure(refuses(401, f"Incorrect API key provided: {SECRET} " + "x" * 9000))
    assert SECRET not in error.message
    assert len(error.message) <= 500


def test_quota_that_is_used_up_is_no_reason_to_wait() -> None:
    """OpenAI says 429 to an unpaid bill too; no backoff helps there."""
    assert failure(refuses(429, "pay", code="insufficient_quota")).code == "upstream_rejected"


def test_key_that_no_header_may_hold_stays_secret() -> None:
    """A key with a newline, as read from a file, fails without showing it."""
    with (
        ScriptedUpstream(says("hi")) as upstream,
        closing(backend_for(upstream, api_key=f"{SECRET}\n")) as backend,
    ):
        error = fails(backend, [], ask())
        assert error.code == "upstream_misconfigured"
        assert SECRET not in str(error) + repr(backend)


# What is waited out


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
def test_refusal_for_now_is_waited_out_visibly(run: Any, status: int) -> None:
    """The upstream's refusal is a Waiting piece with its reason and when it goes on, then the answer comes."""
    began = time.time()
    pieces, upstream = run(refuses(status, "busy"), says("hi"))
    waiting, *rest = pieces
    assert isinstance(waiting, Waiting)
    assert waiting.reason == f"HTTP {status}: busy"
    assert began <= waiting.retry_at <= time.time() + QUICK.first_s
    assert rest == [Text("hi"), Finish("stop")]
    assert len(upstream.calls) == 2


def before_headers(call: Call) -> None:
    call.drop()


def after_headers(call: Call) -> None:
    call.begin()
    call.drop()


@pytest.mark.parametrize(
    "script", [before_headers, after_headers, sends(b'data: {"error":{"code":503,"message":"busy"}}\n\n')]
)
def test_failure_before_the_first_piece_is_waited_out(run: Any, script: Script) -> None:
    """As long as no piece came, a lost connection costs nobody anything."""
    pieces, _ = run(script, says("hi"))
    assert [type(p) for p in pieces] == [Waiting, Text, Finish]


def test_retry_after_is_honoured(run: Any) -> None:
    """The upstream says when; nobody comes before."""
    _, upstream = run(refuses(429, "slow down", Retry_After="0.4"), says("hi"))
    assert upstream.calls[1].at - upstream.calls[0].at >= 0.4


def test_deadline_that_comes_before_the_next_try_ends_the_wait() -> None:
    """Waiting out an outage never goes past the job's deadline."""
    clock = Clock()
    with (
        ScriptedUpstream(refuses(503, "down", Retry_After="60")) as upstream,
        closing(backend_for(upstream)) as backend,
    ):
        error = fails_after_waiting(backend, clock)
    assert len(upstream.calls) == 1
    assert (error.code, error.retryable) == ("upstream_unavailable", True)
    assert "down" in error.message


def test_upstream_that_nobody_listens_at_is_unavailable_at_the_deadline() -> None:
    """Connection refused is an outage like any other, and its address is not shown."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with closing(OpenAICompatible([Upstream("gpu", url)], backoff=QUICK)) as backend:
            error = fails_after_waiting(backend, Clock())
    assert error.code == "upstream_unavailable"
    assert "127.0.0.1" not in error.message


def test_refusal_of_one_job_holds_the_others_back_and_one_goes_first() -> None:
    """While a model's gate is closed its jobs don't call; when it opens, one probe goes before all others."""

    def probe(call: Call) -> None:
        call.hold()
        says("hi")(call)

    with (
        ScriptedUpstream(refuses(429, "wait", Retry_After="0.3"), probe, says("hi")) as upstream,
        closing(backend_for(upstream, Backoff(first_s=0.05, patience_s=30))) as backend,
    ):
        jobs = [Job(backend)]
        wait_until(lambda: jobs[0].pieces, "the first job's Waiting")
        jobs += [Job(backend) for _ in range(9)]
        wait_until(lambda: all(job.pieces for job in jobs), "everybody's Waiting")
        upstream.wait_for_call(2)
        assert upstream.calls[1].at - upstream.calls[0].at >= 0.3
        assert len(upstream.calls) == 2
        upstream.calls[1].go_on()
        for job in jobs:
            assert text_of(job.result()) == "hi"
        assert len(upstream.calls) == 11


def test_probe_without_an_answer_holds_the_others_up_for_a_while_only() -> None:
    """When the probe hangs, the next job goes after the gate's patience."""

    def silent(call: Call) -> None:
        call.hold()
        call.drop()

    with (
        ScriptedUpstream(refuses(503), silent, says("hi")) as upstream,
        closing(backend_for(upstream, Backoff(first_s=0.05, patience_s=0.3))) as backend,
    ):
        jobs = [Job(backend)]
        wait_until(lambda: jobs[0].pieces, "the first job's Waiting")
        jobs.append(Job(backend))
        upstream.wait_for_call(3)
        upstream.calls[1].go_on()
        assert [text_of(job.result()) for job in jobs] == ["hi", "hi"]


def test_gate_that_a_probe_left_without_a_verdict_lets_the_next_go_at_once() -> None:
    """A probe that is cancelled tells nothing about the upstream: somebody else probes."""
    gate = UpstreamGate(Backoff(first_s=0.02, patience_s=30))
    first = gate.enter(None, Deadline.never())
    assert isinstance(first, Passage)
    first.refused("busy", None)
    refusal = gate.enter(None, Deadline.never())
    assert isinstance(refusal, Refusal)
    probe = gate.enter(refusal, Deadline.after(60))
    assert isinstance(probe, Passage)
    assert gate.enter(refusal, Deadline.after(0.05)) is refusal
    with probe:
        pass
    assert isinstance(gate.enter(refusal, Deadline.after(60)), Passage)


def test_gate_that_is_refused_by_many_at_once_backs_off_once() -> None:
    """Calls that were under way together tell the same news: a hundred of them are one refusal."""
    gate = UpstreamGate(Backoff(first_s=1.0, most_s=1000.0))
    for passage in [gate.enter(None, Deadline.never()) for _ in range(100)]:
        assert isinstance(passage, Passage)
        passage.refused("busy", None)
    refusal = gate.enter(None, Deadline.never())
    assert isinstance(refusal, Refusal)
    assert refusal.left_s <= 1.0


def test_prompt_that_breaks_an_upstream_which_serves_others_gives_way() -> None:
    """Three failures on one prompt while others are answered are the prompt's; an outage is nobody's."""

    def script(call: Call) -> None:
        says("hi")(call) if call.body["messages"][0]["content"] == "hello" else refuses(500, "boom")(call)

    poison = ({"role": "user", "content": "poison"},)
    with ScriptedUpstream(script) as upstream, closing(backend_for(upstream)) as backend:
        poisoned = Job(backend, messages=poison)
        while poisoned.thread.is_alive():
            assert text_of(list(backend.generate(ask()))) == "hi"
    assert isinstance(poisoned.error, BackendError)
    assert (poisoned.error.code, poisoned.error.retryable) == ("upstream_failed", True)
    assert sum(call.body["messages"] == list(poison) for call in upstream.calls) == 3


def test_prompts_that_break_an_upstream_do_not_hold_up_others() -> None:
    """Twenty prompts that get a 500 each time, at once: good ones are answered meanwhile, each without a wait."""

    def script(call: Call) -> None:
        says("hi")(call) if call.body["messages"][0]["content"] == "hello" else refuses(500, "boom")(call)

    with ScriptedUpstream(script) as upstream, closing(backend_for(upstream)) as backend:
        assert text_of(list(backend.generate(ask()))) == "hi"
        poisoned = [
            Job(backend, job_id=f"p{n}", messages=({"role": "user", "content": f"poison {n}"},)) for n in range(20)
        ]
        answers = 0
        while any(job.thread.is_alive() for job in poisoned):
            good = Job(backend, job_id=f"good {answers}")
            assert text_of(good.result()) == "hi"
            answers += 1
    assert answers > 1
    codes = {job.error.code for job in poisoned if isinstance(job.error, BackendError)}
    assert codes == {"upstream_failed"}
    for n in range(20):
        assert sum(call.body["messages"][0]["content"] == f"poison {n}" for call in upstream.calls) == 3


def breaks_off(call: Call) -> None:
    call.begin()
    call.text("a")


def test_upstream_that_breaks_off_each_answer_is_asked_one_at_a_time() -> None:
    """Fifty jobs whose answers all break off: after a few of them the gate is closed, and does not open for a 200."""
    with (
        ScriptedUpstream(breaks_off) as upstream,
        closing(backend_for(upstream, Backoff(first_s=30, suspected_part=1, suspected_most_s=30))) as backend,
    ):
        jobs = [Job(backend, job_id=f"j{n}", deadline=Deadline.after(2)) for n in range(3)]
        for job in jobs:
            job.thread.join(60)
        later = [Job(backend, job_id=f"later {n}", deadline=Deadline.after(0.5)) for n in range(50)]
        for job in later:
            job.thread.join(60)
    assert len(upstream.calls) == 3
    assert {getattr(job.error, "code", None) for job in jobs} == {"upstream_interrupted"}
    assert {getattr(job.error, "code", None) for job in later} == {"upstream_unavailable"}


def test_error_inside_a_200_makes_the_pauses_longer() -> None:
    """A 200 whose stream is an error each time is no success: the pauses grow as with any refusal."""
    script = sends(b'data: {"error":{"code":429,"message":"busy"}}\n\n')
    pieces: list[Piece] = []
    slow = Backoff(first_s=0.1, most_s=100)
    with ScriptedUpstream(script) as upstream, closing(backend_for(upstream, slow)) as backend:
        error = fails(backend, pieces, ask(deadline=Deadline.after(3)))
    assert error.code == "upstream_unavailable"
    assert len(upstream.calls) < 9
    assert {piece.reason for piece in pieces if isinstance(piece, Waiting)} == {"HTTP 429: busy"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"message": "boom", "type": "invalid_request_error", "code": "context_length_exceeded"}, "upstream_rejected"),
        ({"message": "pay", "type": "insufficient_quota"}, "upstream_rejected"),
        ({"message": "what"}, "upstream_error"),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_error_inside_a_200_is_read_in_any_shape(error: dict[str, str], code: str, as_json: bool) -> None:
    """As an event or as a JSON body: with its own word, which clients look for."""
    body = {"error": error}
    script = (lambda call: call.json(200, body)) if as_json else sends(b"data: %b\n\n" % json.dumps(body).encode())
    found = failure(script)
    assert found.code == code
    assert error["message"] in found.message
    assert error.get("code", "") in found.message


def test_empty_answer_costs_no_attempt(run: Any) -> None:
    """A 200 that ends without a word is tried again, with a pause, where it stands."""
    pieces, upstream = run(sends(), sends(b": hello\n\n"), says("hi"))
    assert [type(piece) for piece in pieces] == [Waiting, Waiting, Text, Finish]
    assert len(upstream.calls) == 3


def test_redirect_is_not_followed() -> None:
    """A prompt goes where the operator said, and nowhere else; where to is not shown."""
    with ScriptedUpstream(says("hi")) as other:
        error = failure(lambda call: call.json(307, {}, {"Location": other.url + "/chat/completions"}))
        assert other.calls == []
    assert (error.code, error.retryable) == ("upstream_misconfigured", False)
    assert "HTTP 307" in error.message
    assert "127.0.0.1" not in error.message


@pytest.mark.parametrize("status", [200, 400, 500])
def test_error_without_end_is_cut_off(status: int) -> None:
    """Of an answer that is an error, or no stream, a bounded part is read."""

    def script(call: Call) -> None:
        call.begin(status, {"Content-Type": "application/json"})
        while True:
            call.send(b"x" * 65_536)

    error = failure(script, deadline=Deadline.after(0))
    assert error.code in ("upstream_rejected", "upstream_unavailable", "upstream_garbage")
    assert len(error.message) <= 600


def test_stream_without_a_piece_is_bounded() -> None:
    """Comments without end are garbage after a while, however fast they come."""
    error = failure(sends(*[b": %b\n\n" % (b"x" * 65_000)] * (MAX_SILENT_BYTES // 65_000 + 10)))
    assert error.code == "upstream_garbage"
    assert f"more than {MAX_SILENT_BYTES} bytes" in error.message


def test_comments_are_signs_of_life() -> None:
    """A comment is said to whoever counts the time, and is no piece of the answer."""

    def script(call: Call) -> None:
        call.begin()
        call.send(b": keep-alive\n\n")
        call.hold()
        call.text("a")
        call.done()

    with ScriptedUpstream(script) as upstream, closing(backend_for(upstream)) as backend:
        generating = backend.generate(ask())
        assert next(generating) == Alive()
        upstream.calls[0].go_on()
        assert [piece for piece in generating if not isinstance(piece, Complete)] == [Text("a"), Finish("stop")]


def test_tool_calls_are_bounded_in_number() -> None:
    """An answer that opens one tool call after the other is garbage."""

    def script(call: Call) -> None:
        call.begin()
        for index in range(MAX_TOOL_CALLS + 1):
            call.delta(tool_calls=[{"index": index, "id": "c", "function": {"name": "f"}}])

    assert failure(script).code == "upstream_garbage"


@pytest.mark.parametrize("data", [b'{"choices":7}', b'{"choices":[{"delta":{"tool_calls":7}}]}'])
def test_wrong_shapes_are_garbage(data: bytes) -> None:
    """Whatever its shape, an upstream's answer breaks nothing here."""
    assert failure(sends(b"data: " + data + b"\n\n")).code == "upstream_garbage"


def test_key_that_is_not_accepted_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """After a 401 other jobs fail the same way without a call, for a while; the operator gets one line."""
    with ScriptedUpstream(refuses(401, "bad key")) as upstream, closing(backend_for(upstream)) as backend:
        for number in range(20):
            error = fails(backend, [], ask(job_id=f"j{number}"))
            assert (error.code, error.retryable) == ("upstream_rejected", False)
            assert "HTTP 401: bad key" in error.message
    assert len(upstream.calls) < 10
    assert len([record for record in caplog.records if "Spool's API key" in record.getMessage()]) == 1


def test_403_of_one_job_is_its_own() -> None:
    """What is forbidden for some prompts does not stop others."""
    with (
        ScriptedUpstream(refuses(403), refuses(403), says("hi")) as upstream,
        closing(backend_for(upstream)) as backend,
    ):
        for _ in range(2):
            assert fails(backend, [], ask()).code == "upstream_rejected"
        assert text_of(list(backend.generate(ask(job_id="other")))) == "hi"


ECHOES: dict[str, Callable[[Call], str]] = {
    "header": lambda call: call.headers["authorization"],
    "base64": lambda call: base64.b64encode(call.headers["authorization"].encode()).decode(),
    "host": lambda call: f"cannot reach {call.headers['host']}",
    "address": lambda call: f"http://{call.headers['host']}{call.path}",
}


def echoing(how: str, echo: Callable[[Call], str]) -> Script:
    """A script that repeats a part of the request where ``how`` says."""

    def script(call: Call) -> None:
        said = echo(call)
        error = {"error": {"message": said, "type": said, "code": said}}
        if how == "body":
            call.json(400, error)
        elif how == "text":
            call.begin(502, {"Content-Type": "text/plain"})
            call.send(said.encode())
        elif how == "headers":
            call.json(400, {}, {"X-Request-Id": said, "WWW-Authenticate": said})
        elif how == "event":
            call.begin()
            call.event(error)
        elif how == "late event":
            call.begin()
            call.text("a")
            call.event(error)
        else:
            call.begin(200, {"Content-Type": said})

    return script


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("how", ["body", "text", "headers", "event", "late event", "content type"])
def test_echo_of_the_request_shows_nothing_of_ours(how: str, echo: str, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever an upstream repeats the credential or its own address: neither error, nor waiting, nor log shows it."""
    pieces: list[Piece] = []
    with (
        ScriptedUpstream(echoing(how, ECHOES[echo])) as upstream,
        closing(backend_for(upstream)) as backend,
    ):
        error = fails(backend, pieces, ask(deadline=Deadline.after(0.2)))
        port = upstream.url.rpartition(":")[2].partition("/")[0]
    logged = "".join(record.getMessage() for record in caplog.records)
    shown = f"{error} {error.message} {logged} {[piece for piece in pieces if isinstance(piece, Waiting)]}"
    for secret in (SECRET, SECRET[3:], "127.0.0.1", port, base64.b64encode(f"Bearer {SECRET}".encode()).decode()[:20]):
        assert secret not in shown


class Job:
    """A job in a thread."""

    def __init__(self, backend: OpenAICompatible, **more: Any) -> None:
        self.request = ask(**{"deadline": Deadline.after(60), **more})
        self.pieces: list[Piece] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(backend,), daemon=True)
        self.thread.start()

    def _run(self, backend: OpenAICompatible) -> None:
        try:
            for piece in backend.generate(self.request):
                self.pieces.append(piece)
        except BackendError as exc:
            self.error = exc

    def result(self) -> list[Piece]:
        self.thread.join(60)
        assert not self.thread.is_alive(), "the job did not end"
        assert self.error is None, self.error
        return self.pieces


# What is cancelled


def test_close_between_two_pieces_closes_the_connection() -> None:
    """The upstream stops generating as soon as nobody wants the answer."""

    def script(call: Call) -> None:
        call.begin()
        call.text("a")
        call.hold()

    with ScriptedUpstream(script) as upstream, closing(backend_for(upstream)) as backend:
        generating = backend.generate(ask())
        assert next(generating) == Text("a")
        generating.close()  # type: ignore[attr-defined]
        wait_until(lambda: upstream.calls[0].gone_at, "the client's disconnect")


KILLED_UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, gevent.os, sys
from spool.models.model import Model, Upstream
from worker.backends import GenerationRequest
from worker.backends.openai.backend import OpenAICompatible

class Cancelled(BaseException): pass

def run():
    for piece in backend.generate(request):
        print("piece", flush=True)

backend = OpenAICompatible([Upstream("gpu", sys.argv[1])])
request = GenerationRequest("j1", Model("m", "openai", "gpu"), [{"role": "user", "content": "x"}])
while True:
    job = gevent.spawn(run)
    gevent.os.tp_read(0, 1)
    job.kill(Cancelled(), block=True, timeout=60)
    print("killed", flush=True)
"""


def silent_before_headers(call: Call) -> None:
    call.hold()


def silent_after_a_piece(call: Call) -> None:
    call.begin()
    call.text("a")
    call.hold()


def test_kill_of_a_greenlet_that_reads_closes_the_connection() -> None:
    """Under gevent an exception thrown into a blocked read closes the connection at once, headers or not."""
    with ScriptedUpstream(silent_before_headers, silent_after_a_piece) as upstream:
        command = [sys.executable, "-c", KILLED_UNDER_GEVENT, upstream.url]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            try:
                for number in (1, 2):
                    call = upstream.wait_for_call(number)
                    if number == 2:
                        assert child.stdout.readline() == b"piece\n"
                    child.stdin.write(b"k")
                    child.stdin.flush()
                    wait_until(lambda call=call: call.gone_at, "the client's disconnect")
                    assert child.stdout.readline() == b"killed\n"
                    assert child.poll() is None, "only the job was to end"
            finally:
                child.send_signal(signal.SIGKILL)
