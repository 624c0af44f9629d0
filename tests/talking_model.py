"""A model for a ``ScriptedUpstream`` that goes on from a partial answer, or does one of the things that servers do
instead.

    with ScriptedUpstream(TalkingModel(style="prefix")) as upstream: ...

It has one answer, of known tokens, counts them, and keeps the limit of tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.scripted_upstream import Call
from worker.backends.openai.backend import OpenAICompatible

_BLANKS = (" ", "\n", "  ", "\n\n")
COUNTING = (*(token for n in range(1, 17) for token in (str(n), ",", _BLANKS[n % 4])), "end", ".")
"""No token ends in white space but has more than that, so that an answer is the same tokens read as written."""
PROMPT_TOKENS = 7
HABITS = (
    "joins",
    "begins anew",
    "greets",
    "repeats",
    "trims",
    "overruns",
    "thinks",
    "refuses",
    "counts nothing",
    "in one piece",
)

_ASKED_PROPERLY: dict[str, Callable[[dict[str, Any]], bool]] = {
    "vllm": lambda body: body.get("continue_final_message") is True and body.get("add_generation_prompt") is False,
    "assistant": lambda body: "prefix" not in body["messages"][-1],
    "prefix": lambda body: body["messages"][-1].get("prefix") is True,
    "mistral": lambda body: body["messages"][-1].get("prefix") is True,
}


@dataclass(frozen=True)
class TalkingModel:
    """A script. ``habit`` is what it does with a text that it is given; asked in another style than its own it begins
    anew. ``pause_s`` is its time for a token."""

    habit: str = "joins"
    style: str = "vllm"
    tokens: tuple[str, ...] = COUNTING
    pause_s: float = 0.0

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.tokens)

    def __call__(self, call: Call) -> None:
        last = call.body["messages"][-1]
        given = str(last["content"]) if last["role"] == "assistant" else ""
        if given and self.habit == "refuses":
            call.json(422, {"error": {"message": "continue what?"}})
            return
        _, counted = self._after(given)
        if self.habit == "begins anew" or not _ASKED_PROPERLY[self.style](call.body):
            given = ""
        self._say(call, given, PROMPT_TOKENS + counted)

    def _say(self, call: Call, given: str, counted: int) -> None:
        rest, _ = self._after(given)
        limit = len(rest) if given and self.habit == "overruns" else call.body.get("max_tokens", len(rest))
        call.begin()
        if given and self.habit == "thinks":
            call.delta(reasoning_content="hm")
        if given and self.habit == "greets":
            call.text("Sure! ")
        if given and (self.habit == "repeats" or self.style == "mistral"):
            call.text(given)
        for number, token in enumerate(self._pieces(rest[:limit])):
            if self.pause_s:
                call.hold(self.pause_s)
            call.text(token.lstrip() if given and not number and self.habit == "trims" else token)
        usage = None if self.habit == "counts nothing" else (counted, len(rest[:limit]))
        call.done("length" if limit < len(rest) else "stop", usage)

    def _pieces(self, tokens: tuple[str, ...]) -> tuple[str, ...]:
        return ("".join(tokens),) if self.habit == "in one piece" else tokens

    def _after(self, given: str) -> tuple[tuple[str, ...], int]:
        """The tokens after ``given``, and how many are in it."""
        said = next(n for n in range(len(self.tokens) + 1) if "".join(self.tokens[:n]).startswith(given))
        return self.tokens[said:], said


def age_proofs(backend: OpenAICompatible, by_s: float) -> None:
    """What the backend knows of its models' going on is older by that."""
    for link in backend._links.values():
        link.proofs.update({key: replace(proof, at=proof.at - by_s) for key, proof in link.proofs.items()})
