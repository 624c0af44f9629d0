"""The rules of ``worker.backends``, held to the demo; the upstreams' backend has a test file of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.models.model import DEMO
from tests.clock import Clock
from worker.backends import BackendError, Finish, GenerationRequest, Piece, Reasoning, Text, Usage
from worker.backends.demo.backend import Demo, prompt_of

FAST = {"rate": 0, "first_token_s": 0}
SHAPES: list[dict[str, Any]] = [
    {},
    {"tokens": 0},
    {"tokens": 1},
    {"tokens": 50},
    {"tokens": 2000},
    {"seed": 7},
    {"tokens": 300, "seed": 7},
    {"reasoning": 3},
    {"reasoning": 3, "tokens": 5},
    {"fail_after": 1000, "tokens": 20},
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)


def generate(params: Mapping[str, Any], *, prompt: str = "hello", prefix: str = "") -> list[Piece]:
    """All the pieces of an answer."""
    request = GenerationRequest("j", DEMO, [{"role": "user", "content": prompt}], {**FAST, **params}, prefix)
    return list(Demo().generate(request))


def texts(pieces: Sequence[Piece]) -> list[str]:
    """The texts of those that are text."""
    return [piece.text for piece in pieces if isinstance(piece, Text)]


@pytest.mark.parametrize("params", SHAPES, ids=repr)
def test_ends_with_one_finish(params: dict[str, Any]) -> None:
    """An answer ends with exactly one ``Finish``, and has one ``Usage`` before it."""
    pieces = generate(params)
    assert [type(piece) for piece in pieces if isinstance(piece, Usage | Finish)] == [Usage, Finish]
    assert pieces[-1] == Finish("length" if "tokens" in params else "stop")
    assert isinstance(pieces[-2], Usage)
    assert pieces[-2].output_tokens == len(texts(pieces)) == params.get("tokens", len(texts(pieces)))


@pytest.mark.parametrize("params", SHAPES, ids=repr)
def test_same_prompt_same_answer(params: dict[str, Any]) -> None:
    """The same prompt and params give the same pieces; another prompt or seed other ones."""
    pieces = generate(params)
    assert generate(params) == pieces
    if len(texts(pieces)) >= 50:
        assert generate(params, prompt="another") != pieces


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_limit_beyond_any_answer(name: str) -> None:
    """A limit of any size is one: a client may send the largest number that JSON's readers know."""
    pieces = generate({name: 2**64 - 1, "rate": 0})
    assert pieces[-1] == Finish("stop")


def test_another_seed() -> None:
    """Another seed gives another answer to the same prompt."""
    assert len({"".join(texts(generate({"seed": seed}))) for seed in range(8)}) > 1


@pytest.mark.parametrize("params", SHAPES, ids=repr)
def test_continues_from_every_prefix(params: dict[str, Any]) -> None:
    """From whatever an attempt had said when it was cut, the next one says exactly the rest."""
    said = texts(generate(params))
    steps = list(accumulate(said, initial=""))
    stride = max(1, len(steps) // 60)
    for count in {*range(0, len(steps), stride), len(steps) - 1}:
        pieces = generate(params, prefix=steps[count])
        assert texts(pieces) == said[count:]
        assert isinstance(pieces[-2], Usage)
        assert pieces[-2].output_tokens == len(said)
        if steps[count]:
            assert not any(isinstance(piece, Reasoning) for piece in pieces)


@given(prompt=TEXT)
def test_answer_to_anything(prompt: str) -> None:
    """Any prompt is answered, whole, with its beginning quoted, and no piece is empty."""
    said = texts(generate({}, prompt=prompt))
    assert all(said)
    quoted = " ".join(prompt.split())[:80].rstrip()
    assert quoted in "".join(said)


def test_usage_counts_the_words_of_a_long_prompt() -> None:
    """A prompt is counted in parts, and a word that two of them share once."""
    prompt = "".join("ab " * 7 + "\n" * 3 for _ in range(8000)) + "x" * 200_000 + " y"
    usage = next(piece for piece in generate({"tokens": 0}, prompt=prompt) if isinstance(piece, Usage))
    assert usage.input_tokens == len(prompt.split())


def test_says_that_it_is_a_demo() -> None:
    """Nobody takes its answer for a model's."""
    assert "demo" in "".join(texts(generate({}))[:20])


def test_text_survives_every_script() -> None:
    """The answer holds more than ASCII, so that whoever shows it is tested with it."""
    answer = "".join(texts(generate({})))
    for part in ("Ελληνικά", "日本語", "العربية", "हिन्दी", "🧵", "```python"):
        assert part in answer


def test_reasoning_comes_first() -> None:
    """What it thinks comes before what it says."""
    kinds = [type(piece) for piece in generate({"reasoning": 3, "tokens": 2})]
    assert kinds == [Reasoning, Reasoning, Reasoning, Text, Text, Usage, Finish]


@pytest.mark.parametrize("params", [{"fail_after": 3}, {"fail_after": 3, "tokens": 100}, {"fail_after": 0}], ids=repr)
def test_fails_as_asked(params: dict[str, Any]) -> None:
    """It fails after so many tokens, in a way that says what it is; continued, at the same place."""
    said: list[str] = []

    def run(prefix: str) -> None:
        request = GenerationRequest("j", DEMO, [{"role": "user", "content": "x"}], {**FAST, **params}, prefix)
        for piece in Demo().generate(request):
            assert isinstance(piece, Text)
            said.append(piece.text)

    with pytest.raises(BackendError) as caught:
        run("")
    assert (len(said), caught.value.code, caught.value.retryable) == (params["fail_after"], "demo_failure", True)
    before = list(said)
    with pytest.raises(BackendError):
        run("".join(before))
    assert said == before


@pytest.mark.parametrize("params", [{"tokens": -1}, {"rate": "x"}, {"unknown": 1}], ids=repr)
def test_params_that_are_wrong(params: dict[str, Any]) -> None:
    """Params that got past the check end the job with a name."""
    with pytest.raises(BackendError) as caught:
        generate(params)
    assert (caught.value.code, caught.value.retryable) == ("invalid_params", False)


def test_stamps() -> None:
    """In stamp mode each token is the time at which it was due, evenly apart and rising."""
    request = GenerationRequest("j", DEMO, [], {"stamp": True, "tokens": 20, "rate": 2000, "first_token_s": 0})
    stamps = [int(text) for text in texts(list(Demo(wall=Clock(1000.0)).generate(request)))]
    assert len(stamps) == 20
    assert all(text.endswith(" ") for text in texts(generate({"stamp": True, "tokens": 3})))
    steps = [after - before for before, after in pairwise(stamps)]
    assert all(499 <= step <= 501 for step in steps)
    assert stamps[0] == 1000 * 1_000_000


@pytest.mark.parametrize("params", [{"stamp": True}, {"stamp": True, "tokens": 0}, {"stamp": True, "tokens": 7}])
def test_stamps_continue(params: dict[str, Any]) -> None:
    """Stamps that an earlier attempt gave are not given again."""
    total = params.get("tokens", 200)
    assert len(texts(generate(params))) == total
    if total:
        assert len(texts(generate(params, prefix="1 2 3 "))) == total - 3


def test_rate_is_kept() -> None:
    """Tokens come no sooner than they are due."""
    began = time.monotonic()
    generate({"tokens": 21, "rate": 100, "first_token_s": 0.05})
    assert time.monotonic() - began >= 0.25


def test_cancelled_while_it_waits() -> None:
    """What is thrown into it where it waits comes out of it at once."""

    class StopJob(BaseException):
        pass

    said: list[Piece] = []

    def run() -> None:
        request = GenerationRequest("j", DEMO, [{"role": "user", "content": "x"}], {"rate": 0.01, "first_token_s": 0})
        said.extend(Demo().generate(request))

    job = gevent.spawn(run)
    while not said:
        gevent.sleep(0)
    job.kill(StopJob, timeout=60)
    assert isinstance(job.exception, StopJob)
    assert len(said) == 1


def test_closed_in_the_middle() -> None:
    """Closing the iterator ends it."""
    pieces = Demo().generate(GenerationRequest("j", DEMO, [{"role": "user", "content": "x"}], FAST))
    assert isinstance(next(pieces), Text)
    pieces.close()  # type: ignore[attr-defined]
    assert list(pieces) == []


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([], ""),
        ([{"role": "user"}], ""),
        ([{"role": "user", "content": None}], ""),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "b"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}], "a"),
        ([{"role": "user", "content": [{"type": "text", "text": 7}]}], "7"),
        ([{"role": "user", "content": [{"type": "text", "text": {"a": [1]}}]}], ""),
    ],
    ids=repr,
)
def test_prompt_of_messages(messages: list[Any], prompt: str) -> None:
    """The demo answers the text of the last message, whatever its shape."""
    assert prompt_of(messages) == prompt
