"""Runs a call's steps against a script in place of a network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from spool_client.documents import Document
from spool_client.errors import SpoolError, Unreachable
from spool_client.steps import Answer, Emit, Exchange, Open, Pause, Read, Request, Steps

LOST = Unreachable("the connection was lost")
SILENCE = Unreachable("the server was silent for too long", is_silence=True)

Scripted = Answer | bytes | SpoolError
"""What the network does next: an answer, a piece of a stream (empty: its end), or a failure."""


class Play:
    """The steps against the script. ``items``: what they emitted; ``result``: what they returned."""

    def __init__(self, steps: Steps[Any], script: Iterable[Scripted]) -> None:
        self.items: list[Any] = []
        self.requests: list[Request] = []
        self.pauses: list[float] = []
        self.script = list(script)
        self.result = self._play(steps)
        assert not self.script, "the script was not used up"

    @property
    def ids(self) -> list[int]:
        """The ids of the entries."""
        return [item.id for item in self.items if item.kind]

    def _play(self, steps: Steps[Any]) -> Any:
        given: Any = None
        failure: SpoolError | None = None
        while True:
            try:
                step = steps.send(given) if failure is None else steps.throw(failure)
            except StopIteration as stop:
                return stop.value
            given = failure = None
            if isinstance(step, Emit):
                self.items.append(step.item)
            elif isinstance(step, Pause):
                self.pauses.append(step.seconds)
            elif isinstance(step, Exchange | Open | Read):
                if isinstance(step, Exchange | Open):
                    self.requests.append(step.request)
                assert self.script, f"nothing in the script for {step}"
                scripted = self.script.pop(0)
                if isinstance(scripted, SpoolError):
                    failure = scripted
                    continue
                given = scripted
                if isinstance(step, Open) and isinstance(scripted, Answer) and scripted.body:
                    self.script[:0] = [scripted.body, END]


def answer(document: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON answer; of 4xx and 5xx a problem."""
    media_type = "application/json" if status < 400 else "application/problem+json"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": media_type, **named}, json.dumps(document).encode())


BAD_GATEWAY = Answer(502, {"content-type": "text/html"}, b"<title>502 Bad Gateway</title>")
STREAM = Answer(200, {"content-type": "text/event-stream"})
END = b""


def event(document: Mapping[str, Any], retry_ms: int = 0) -> bytes:
    """One event as Spool sends it."""
    name = document.get("kind") or document["type"]
    retry = f"retry: {retry_ms}\n" if retry_ms else ""
    return f"{retry}event: {name}\ndata: {json.dumps(document)}\n\n".encode()


ATTACHED = event({"type": "attached"})


def token(number: int, text: str = "x") -> dict[str, Any]:
    """A token's entry."""
    return {"id": number, "kind": "token", "at": "", "text": text}


def done(number: int) -> dict[str, Any]:
    """The entry that ends a log."""
    return {"id": number, "kind": "done", "at": "", "finish_reason": "stop"}


def record(last_entry: int, status: str = "running", text: str = "") -> Answer:
    """A job's record."""
    document = {"id": "j", "status": status, "last_entry": last_entry, "text": text, "attempt": 1}
    return answer({**document, "error": None, "finish_reason": None, "usage": None})


def text_of(items: Iterable[Document]) -> str:
    """The text of these entries."""
    return "".join(item.text for item in items if not hasattr(item, "type"))
