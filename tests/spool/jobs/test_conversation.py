"""What a log adds up to, and what the next turn is given."""

from __future__ import annotations

from typing import Any

import pytest

from spool.errors import UndecodableRecord
from spool.jobs.conversation import Answer, given
from spool.jobs.entries import Entry, Kind


def answered(*entries: tuple[Kind, dict[str, Any]]) -> Answer:
    """The answer that these entries add up to."""
    answer = Answer("j0-x")
    answer.add_all(
        [Entry(n, kind, "2026-11-21T09:30:00.000Z", fields).encode() for n, (kind, fields) in enumerate(entries)]
    )
    return answer


def call(
    index: int, arguments: str, name: str | None = None, call_id: str | None = None
) -> tuple[Kind, dict[str, Any]]:
    """A piece of a tool call."""
    return Kind.TOOL_CALL, {"index": index, "call_id": call_id, "name": name, "arguments": arguments}


def test_text_and_reasoning() -> None:
    """Tokens are the text, what was thought is not; the end has its reason."""
    answer = answered(
        (Kind.STARTED, {"attempt": 1, "model": "m"}),
        (Kind.REASONING, {"text": "hm"}),
        (Kind.TOKEN, {"text": "a"}),
        (Kind.TOKEN, {"text": "b"}),
        (Kind.USAGE, {"input_tokens": 1, "output_tokens": 2}),
        (Kind.DONE, {"finish_reason": "stop"}),
    )
    assert (answer.text, answer.reasoning, answer.finish_reason, answer.end) == ("ab", "hm", "stop", Kind.DONE)
    assert answer.message() == {"role": "assistant", "content": "ab"}
    assert answer.usage is not None
    assert answer.usage["output_tokens"] == 2


def test_restarted_answer_counts_from_there() -> None:
    """Nothing of an attempt that was begun anew is left; one that goes on keeps all."""
    restarted = (Kind.RESTARTED, {"attempt": 2, "reason": "worker_lost"})
    continued = (Kind.CONTINUED, {"attempt": 2, "reason": "worker_lost"})
    before = [(Kind.REASONING, {"text": "hm"}), (Kind.TOKEN, {"text": "a"}), call(0, "{", "f", "c")]
    anew = answered(*before, restarted, (Kind.TOKEN, {"text": "b"}))
    assert (anew.text, anew.reasoning, anew.calls) == ("b", "", {})
    assert answered(*before, continued, (Kind.TOKEN, {"text": "b"})).text == "ab"


def test_result_in_pieces() -> None:
    """The pieces of a result join; nothing is left of those of an attempt that was restarted."""
    restarted = (Kind.RESTARTED, {"attempt": 2, "reason": "worker_lost"})
    answer = answered(
        (Kind.RESULT, {"body": "[1"}), restarted, (Kind.RESULT, {"body": '{"a"'}), (Kind.RESULT, {"body": ":1}"})
    )
    assert (answer.result, answer.text, answer.message(), answer.size) == ('{"a":1}', "", None, 7)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ('{"choices":[{"message":{"content":"a","refusal":null}},{}]}', {"role": "assistant", "content": "a"}),
        ('{"choices":[{"text":"a"}]}', None),
        ('{"data":[]}', None),
        ("[", None),
    ],
)
def test_next_turn_after_several_answers(result: str, expected: dict[str, Any] | None) -> None:
    """The next turn goes on from the first of several answers; embeddings and such are no answer."""
    assert answered((Kind.RESULT, {"body": result})).message() == expected


def test_log_probabilities() -> None:
    """Log probabilities join, and are no text; nothing is left of those of an attempt that was restarted."""
    one, two = ({"text": "", "logprobs": [{"token": token, "logprob": -1.0}]} for token in "ab")
    answer = answered((Kind.TOKEN, {"text": "a"}), (Kind.TOKEN, one), (Kind.TOKEN, two))
    assert (answer.text, [item["token"] for item in answer.logprobs]) == ("a", ["a", "b"])
    restarted = (Kind.RESTARTED, {"attempt": 2, "reason": "worker_lost"})
    assert answered((Kind.TOKEN, one), restarted).logprobs == []


def test_calls_in_pieces() -> None:
    """Pieces of several calls add up by their index; a call without an id gets one that stays the same."""
    answer = answered(call(0, "", "one", "c1"), call(1, "", "two"), call(0, '{"a":'), call(1, "{}"), call(0, "1}"))
    assert answer.message() == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "one", "arguments": '{"a":1}'}},
            {"id": "call_j0-x_1", "type": "function", "function": {"name": "two", "arguments": "{}"}},
        ],
    }


@pytest.mark.parametrize("end", [Kind.FAILED, Kind.CANCELLED])
def test_answer_that_is_not_done(end: Kind) -> None:
    """A failed or cancelled answer has no finish reason, and nothing said is no message."""
    answer = answered((end, {"error": {"code": "c", "message": "m", "retryable": False}}))
    assert (answer.end, answer.finish_reason, answer.message()) == (end, None, None)
    assert (answer.error is not None) is (end is Kind.FAILED)


def test_what_is_no_entry() -> None:
    """Bytes that are no entry are named."""
    for raw in (b"{", b"[]", b'{"id":1}', b'{"id":1,"kind":"token"}'):
        with pytest.raises(UndecodableRecord):
            Answer("j").add_all([raw])


def test_what_the_model_is_given() -> None:
    """Instructions come first; stored input without them is given as it is."""
    turn = {"role": "user", "content": "x"}
    assert given({"messages": [turn]}) == [turn]
    assert given({"messages": [turn], "instructions": "i"}) == [{"role": "system", "content": "i"}, turn]
