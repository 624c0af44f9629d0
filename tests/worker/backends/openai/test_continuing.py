"""Going on from a partial answer: the requests, the joint, and what is not gone on with. Against a scripted server."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.deadline import Deadline
from spool.models.model import CONTINUE_STYLES, Model, Upstream
from tests.clock import Clock
from tests.scripted_upstream import Call, Script, ScriptedUpstream, refuses, says
from tests.talking_model import COUNTING, HABITS, PROMPT_TOKENS, TalkingModel, age_proofs
from worker.backends import (
    BackendError,
    CannotContinue,
    Finish,
    GenerationRequest,
    Piece,
    Text,
    Usage,
    Waiting,
)
from worker.backends.openai.backend import OpenAICompatible
from worker.backends.openai.backoff import Backoff
from worker.backends.openai.continuation_probe import Proof
from worker.backends.openai.continuing import Seam

MODEL = Model(name="small", backend="openai", upstream="gpu", upstream_model="org/small-1b", continue_style="vllm")
QUICK = Backoff(first_s=0.05, most_s=0.2, patience_s=2.0)
GREEDY = {"temperature": 0}
WHOLE = "".join(COUNTING)


def ask(prefix: str, style: str = "vllm", **params: Any) -> GenerationRequest:
    """A job whose answer is there up to ``prefix``."""
    messages = [{"role": "user", "content": "Count."}]
    return GenerationRequest(
        "j1", replace(MODEL, continue_style=style), messages, {**GREEDY, **params}, prefix, Deadline.after(60)
    )


@contextmanager
def served(*scripts: Script) -> Iterator[tuple[OpenAICompatible, ScriptedUpstream]]:
    """A backend, and the server behind it."""
    with (
        ScriptedUpstream(*scripts) as upstream,
        closing(OpenAICompatible([Upstream("gpu", upstream.url)], backoff=QUICK)) as backend,
    ):
        yield backend, upstream


def proven(backend: OpenAICompatible, style: str = "vllm") -> Proof:
    """What a probe finds."""
    return finished(backend.prove(replace(MODEL, continue_style=style), Deadline.after(5)))


def finished(probing: Generator[Piece, None, Proof]) -> Proof:
    """The end of a probe."""

    def run() -> Iterator[Proof]:
        yield (yield from probing)  # type: ignore[misc]

    *_, proof = run()
    return proof


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Text))


# What is sent


@pytest.mark.parametrize(
    ("style", "last", "params"),
    [
        ("vllm", {}, {"continue_final_message": True, "add_generation_prompt": False}),
        ("assistant", {}, {}),
        ("prefix", {"prefix": True}, {}),
        ("mistral", {"prefix": True}, {}),
    ],
)
def test_request_in_each_style(style: str, last: dict[str, Any], params: dict[str, Any]) -> None:
    """The text goes along as the last message, without white space at its end and in the words of the server; nothing
    else is added that a strict server would refuse."""
    assert style in CONTINUE_STYLES
    with served(TalkingModel(style=style)) as (backend, upstream):
        assert text_of(list(backend.generate(ask("1,\n2,  ", style)))) == WHOLE.removeprefix("1,\n2,  ")
    body = upstream.calls[-1].body
    assert body.pop("messages")[1:] == [{"role": "assistant", "content": "1,\n2,", **last}]
    assert body == {
        "model": "org/small-1b",
        "stream": True,
        "temperature": 0,
        "stream_options": {"include_usage": True},
        **params,
    }


# What comes back


@pytest.mark.parametrize("style", CONTINUE_STYLES)
def test_continuation_from_every_token(style: str) -> None:
    """From wherever the answer breaks off, the joined text, the limit of tokens, the usage and the end are those of one
    unbroken answer: the server's own tokens are counted, and white space at the joint is there once."""
    with served(TalkingModel(style=style)) as (backend, _):
        for limit, first in ((None, 1), (len(COUNTING) - 3, 6)):
            params = {} if limit is None else {"max_tokens": limit}
            unbroken = list(backend.generate(ask("", style, **params)))
            for cut in range(first, limit or len(COUNTING), 10):  # at each kind of token and white space
                prefix = "".join(COUNTING[:cut])
                pieces = list(backend.generate(ask(prefix, style, **params)))
                assert prefix + text_of(pieces) == text_of(unbroken), (cut, limit)
                assert pieces[-2:] == unbroken[-2:]
    assert unbroken[-2:] == [Usage(PROMPT_TOKENS, len(COUNTING) - 3), Finish("length")]


def test_continuation_of_an_answer_that_was_whole() -> None:
    """An attempt that died between its last token and its end adds nothing; at its limit the server is not even asked
    for more."""
    with served(TalkingModel()) as (backend, upstream):
        assert list(backend.generate(ask(WHOLE)))[-1] == Finish("stop")
        pieces = list(backend.generate(ask("1,\n2", max_tokens=4)))
        assert pieces == [Usage(PROMPT_TOKENS, 4), Finish("length")]
    assert upstream.calls[-1].body["max_tokens"] == 1  # as it counts


def test_continuation_of_nothing_but_white_space() -> None:
    """White space alone is no text that a server could go on from."""
    with served(TalkingModel(tokens=("\n", *COUNTING))) as (backend, upstream):
        assert text_of(list(backend.generate(ask("\n")))) == WHOLE
    assert [message["role"] for message in upstream.calls[-1].body["messages"]] == ["user"]


def test_limits_under_each_name() -> None:
    """Whatever a limit is called, what is left of it is asked for, by the name that this server knows; one that means
    "none" stays."""
    limits = {"max_completion_tokens": 9, "min_tokens": 2, "n_predict": -1}
    with served(TalkingModel()) as (backend, upstream):
        list(backend.generate(ask("1,\n2", **limits)))
    *counts, last = [
        {name: value for name, value in call.body.items() if name.startswith(("max", "min", "n_"))}
        for call in upstream.calls[-3:]
    ]
    assert counts == [{"max_tokens": 1}] * 2
    assert last == {"max_tokens": 5, "min_tokens": 0, "n_predict": -1}


@given(st.text("ab \n", max_size=8), st.text(" \n", max_size=3), st.text("ab \n", max_size=8), st.integers(1, 4))
def test_seam_split_anywhere(again: str, blank: str, rest: str, size: int) -> None:
    """However what a server says is cut into pieces: its repetition and the white space that was kept back are
    dropped, and the rest is whole."""
    said = again + blank + "x" + rest
    seam = Seam(again, blank)
    assert "".join(seam.feed(said[at : at + size]) for at in range(0, len(said), size)) == "x" + rest
    assert seam.is_closed


def test_seam_with_other_white_space() -> None:
    """White space other than what was kept back is the continuation's own."""
    assert Seam("", "\n\n").feed(" x\n") == " x\n"
    assert Seam("", "\n").feed("\n\n  x") == "\n  x"


# The probe


@pytest.mark.parametrize("style", CONTINUE_STYLES)
def test_probe_of_a_model_that_joins(style: str) -> None:
    """A model that goes on is proven, in the style that its server knows and in no other."""
    with served(TalkingModel(style=style)) as (backend, _):
        assert proven(backend, style) == Proof(joins=True, at=backend.proof(replace(MODEL, continue_style=style)).at)  # type: ignore[union-attr]
        assert backend.proof(replace(MODEL, continue_style="other")) is None
    with served(TalkingModel(style="prefix" if style in ("vllm", "assistant") else "vllm")) as (backend, _):
        assert not proven(backend, style).joins


@pytest.mark.parametrize(
    ("habit", "seen"),
    [
        ("begins anew", "restarted"),
        ("greets", "'Sure! "),
        ("repeats", "repeated"),
        ("trims", "white space"),
        ("overruns", "limit"),
        ("thinks", "something else"),
        ("refuses", "HTTP 422: continue what?"),
        ("counts nothing", "the prompt's tokens"),
    ],
)
def test_probe_of_a_model_that_does_not_join(habit: str, seen: str) -> None:
    """Whatever else a server does with the text is seen and said, and no job goes on then."""
    # The limit of the probe falls into this answer, and its half ends before a space.
    model = TalkingModel(habit, tokens=tuple(f" {number}," for number in range(1, 99)))
    with served(model) as (backend, upstream):
        proof = proven(backend)
        assert not proof.joins
        assert seen in proof.seen
        asked = len(upstream.calls)
        with pytest.raises(CannotContinue, match="does not continue"):
            next(backend.generate(ask("1")))
        assert len(upstream.calls) == asked
    assert habit in HABITS


@pytest.mark.parametrize(
    ("tokens", "seen"),
    [(COUNTING[:40], "too short"), (("ab",) * 99, "repeats itself"), ((" ", "\n") * 50, "too short")],
)
def test_probe_that_can_tell_nothing(tokens: tuple[str, ...], seen: str) -> None:
    """An answer that ends before the limit, or from which nothing else can be learned, proves nothing."""
    with served(TalkingModel(tokens=tokens)) as (backend, _):
        assert seen in proven(backend).seen


def test_probe_of_an_answer_in_one_piece() -> None:
    """A server that sends its answer in one piece has it cut between two words."""
    with served(TalkingModel("in one piece")) as (backend, upstream):
        assert proven(backend).joins
    assert WHOLE.startswith(upstream.calls[-1].body["messages"][-1]["content"] + " ")


def test_probe_of_an_upstream_that_is_away() -> None:
    """While the upstream refuses nothing is decided; a job that is to go on meanwhile waits for it, visibly."""
    with served(refuses(503), refuses(503), TalkingModel()) as (backend, _):
        with pytest.raises(BackendError) as caught:
            finished(backend.prove(MODEL, Deadline.after(0.01)))
        assert (caught.value.code, backend.proof(MODEL)) == ("upstream_unavailable", None)
        pieces = list(backend.generate(ask("1,")))
        assert isinstance(pieces[0], Waiting)
        assert text_of(pieces) == WHOLE.removeprefix("1,")
        assert backend.proof(MODEL) is not None


def cut_off(call: Call) -> None:
    call.begin()
    call.text("a")
    call.drop()


def until_it_waits(backend: OpenAICompatible) -> Iterator[Piece]:
    """A job whose deadline comes while it waits for the first time."""
    clock = Clock()
    for piece in backend.generate(replace(ask(""), deadline=Deadline.after(1, clock))):
        clock.now += isinstance(piece, Waiting)
        yield piece


@pytest.mark.parametrize("script", [refuses(503), cut_off])
def test_proof_after_the_upstream_was_away(script: Script) -> None:
    """What comes back may be another server: it is asked again before an answer is gone on with."""
    calls: list[Callable[[Call], None]] = [TalkingModel()]
    with served(lambda call: calls[0](call)) as (backend, _):
        assert proven(backend).joins
        calls[0] = script
        with pytest.raises(BackendError):
            list(until_it_waits(backend))
        assert backend.proof(MODEL) is None
        calls[0] = TalkingModel("greets")
        with pytest.raises(CannotContinue):
            list(backend.generate(ask("1")))


def test_proof_that_is_old() -> None:
    """A server may have been replaced unseen: an old proof is made again before an answer is gone on with."""
    calls: list[Callable[[Call], None]] = [TalkingModel()]
    with served(lambda call: calls[0](call)) as (backend, _):
        assert proven(backend).joins
        calls[0] = TalkingModel("begins anew")
        age_proofs(backend, 100)
        with pytest.raises(CannotContinue):
            list(backend.generate(ask("1")))


def test_upstream_that_is_slow() -> None:
    """Several calls come before the first piece: where they take long, that is said, so that the time to the first
    piece is each call's own."""
    request = ask("1,")
    with served(TalkingModel(pause_s=0.002)) as (backend, _):
        slow = replace(request, model=replace(request.model, first_token_s=0.04))
        pieces = list(backend.generate(slow))
        assert [type(piece) for piece in pieces if not isinstance(piece, Text)][:2] == [Waiting, Waiting]
        assert text_of(pieces) == WHOLE.removeprefix("1,")
        assert not any(isinstance(piece, Waiting) for piece in backend.generate(request))


# What is not gone on with


@pytest.mark.parametrize(
    "params",
    [
        {"tools": [{}]},
        {"response_format": {"type": "json_object"}},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"presence_penalty": 1},
        {"n": 2},
        {"continue_final_message": True},
        {"stop": ["nothing", "2,"]},
        {"stop": "\n2 and so on"},
    ],
    ids=str,
)
def test_answer_that_is_more_than_its_text(params: dict[str, Any]) -> None:
    """Where what follows depends on more than the text so far, the answer is begun anew, without asking anybody."""
    with served(TalkingModel()) as (backend, upstream), pytest.raises(CannotContinue):
        next(backend.generate(ask("1,\n2", **params)))
    assert upstream.calls == []


def test_prompt_that_ends_with_an_assistant_message() -> None:
    """A caller's own beginning of the answer is not mixed up with what the model said."""
    request = replace(ask("two"), messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": "1"}])
    with served(TalkingModel()) as (backend, upstream), pytest.raises(CannotContinue):
        next(backend.generate(request))
    assert upstream.calls == []


def test_model_that_is_not_configured_to() -> None:
    """Without ``continue`` in the models file nobody is asked to go on."""
    with served(TalkingModel()) as (backend, upstream), pytest.raises(CannotContinue):
        next(backend.generate(ask("1", style="")))
    assert upstream.calls == []


def test_server_that_rejects_this_one_text() -> None:
    """A proven server that rejects this text leads to an answer from the beginning and not to a failure."""
    with served(TalkingModel()) as (backend, upstream):
        assert proven(backend).joins
        upstream.scripts[:] = [TalkingModel("refuses")]
        with pytest.raises(CannotContinue, match="continue what"):
            list(backend.generate(ask("1")))


def test_repetition_that_is_another_text() -> None:
    """From a server that says the text again first, nothing is taken before all of it has come the same."""
    with served(TalkingModel(style="mistral")) as (backend, upstream):
        assert proven(backend, "mistral").joins
        for text in ("1,\n3,", "1,"):
            counts, anew = TalkingModel(style="mistral"), says(text)
            upstream.scripts[:] = [lambda call: (counts if "max_tokens" in call.body else anew)(call)]  # noqa: B023
            pieces: list[Piece] = []
            with pytest.raises(CannotContinue, match="restarted"):
                pieces.extend(backend.generate(ask("1,\n2", "mistral")))
            assert pieces == []
