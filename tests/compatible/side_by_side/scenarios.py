"""The scenarios: what a client's program does, and what the upstream answers to its calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.compatible.side_by_side.chat import Chat
from tests.compatible.side_by_side.faults import OPENAI
from tests.compatible.side_by_side.messages import Messages
from tests.compatible.side_by_side.responses import Responses
from tests.compatible.side_by_side.speaker import THOUGHT, Speaker
from tests.scripted_upstream import Call

_LATE_S = 4.0
"""Longer than the clients' timeouts in ``timeout``."""


@dataclass(frozen=True)
class Scenario:
    """``program``: the name of what the clients' programs do. ``answer`` answers the N-th call, from 1."""

    title: str
    program: str
    answer: Callable[[Speaker, int], None]


def _whole(speaker: Speaker, _: int) -> None:
    speaker.begin()
    speaker.reason(THOUGHT)
    speaker.say("Let me ", "see.")
    speaker.end()


def _calls_tools(speaker: Speaker, _: int) -> None:
    speaker.begin()
    speaker.say("Let me ", "see.")
    speaker.ask_for("one", "two")
    speaker.end()


def _refuses(name: str) -> Callable[[Speaker, int], None]:
    return lambda speaker, _: speaker.refuse(name)


def _breaks(name: str) -> Callable[[Speaker, int], None]:
    def answer(speaker: Speaker, _: int) -> None:
        speaker.begin()
        speaker.say("Hel", keeps_open=True)
        speaker.break_with(name)

    return answer


def _is_cut(speaker: Speaker, _: int) -> None:
    speaker.begin()
    speaker.say("Hel", keeps_open=True)
    speaker.call.break_off()


def _recovers(speaker: Speaker, number: int) -> None:
    if number == 1:
        speaker.limit()
    else:
        _whole(speaker, number)


def _goes_on(speaker: Speaker, _: int) -> None:
    speaker.begin()
    speaker.say("Hel", keeps_open=True)
    speaker.call.hold()


def _is_late(speaker: Speaker, number: int) -> None:
    if number == 1:
        speaker.call.hold(_LATE_S)
    _whole(speaker, number)


def _wants_reasoning(speaker: Speaker, number: int) -> None:
    if number == 1:
        speaker.begin()
        speaker.reason(THOUGHT)
        speaker.ask_for("one")
        speaker.end()
    elif speaker.has_reasoning:
        _whole(speaker, number)
    else:
        speaker.refuse("filter")


_FINAL = [name for name in OPENAI if name != "overloaded"]
"""Before its first token, a job waits until its upstream is no longer overloaded."""

SCENARIOS: dict[str, Scenario] = {
    "whole": Scenario("a whole answer", "whole", _whole),
    "stream": Scenario("a stream", "stream", _whole),
    "tools": Scenario("two tool calls in a stream", "tools", _calls_tools),
    **{f"{name}-whole": Scenario(f"fails before: {name}", "whole", _refuses(name)) for name in _FINAL},
    **{name: Scenario(f"stream fails before: {name}", "stream", _refuses(name)) for name in _FINAL},
    **{f"later-{name}": Scenario(f"stream fails later: {name}", "stream", _breaks(name)) for name in OPENAI},
    "cut": Scenario("the upstream dies in the stream", "stream", _is_cut),
    "limited": Scenario("429 at first", "stream", _recovers),
    "stop": Scenario("stop in the stream", "stop", _goes_on),
    "timeout": Scenario("timeout, and retries", "timeout", _is_late),
    "reasoning": Scenario("reasoning goes back with a tool's result", "reasoning", _wants_reasoning),
}


def _is_silent_once(speaker: Speaker, number: int) -> None:
    if number == 1:
        speaker.call.hold()
    _whole(speaker, number)


def _pauses(speaker: Speaker, _: int) -> None:
    speaker.begin()
    speaker.reason(THOUGHT)
    speaker.say("Let me ")
    speaker.call.hold()
    speaker.say("see.")
    speaker.end()


KILLS: dict[str, Scenario] = {
    "worker-early": Scenario("a worker is killed before the first token", "stream", _is_silent_once),
    "worker-later": Scenario("a worker is killed in the stream", "stream", _pauses),
    "web": Scenario("a web is killed in the stream, and the request repeated at another", "keyed", _pauses),
}
"""Only through Spool: a vendor's processes cannot be killed."""


class Answers:
    """The script of one model of the upstream: a scenario, with the calls that asked for it."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.calls: list[Call] = []
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> None:
        """Answer in the protocol of the call."""
        with self._lock:
            self.calls.append(call)
            number = len(self.calls)
        self.scenario.answer(speaker_of(call), number)


def speaker_of(call: Call) -> Speaker:
    """The speaker of the protocol in which the call asks."""
    kinds: dict[str, Any] = {"/responses": Responses, "/messages": Messages}
    kind = next((kind for path, kind in kinds.items() if path in call.path), Chat)
    found: Speaker = kind(call)
    return found
