"""instructor's typed outputs: ``instructor_chat.py URL``."""

from __future__ import annotations

from typing import Any

import instructor
from cases import report
from framework import CUT_AFTER, URL, base_of, error_of
from openai import OpenAI
from pydantic import BaseModel
from relay import Relay


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


def _asked(relay: Relay, mode: instructor.Mode, model: str, prompt: str) -> dict[str, Any]:
    client = instructor.from_openai(OpenAI(base_url=base_of(relay), api_key="none"), mode=mode)
    fields = {"model": model, "response_model": City, "messages": [{"role": "user", "content": prompt}]}
    return {"client": client.chat.completions, "fields": fields}


def _whole(relay: Relay, mode: instructor.Mode, model: str, prompt: str) -> City:
    asked = _asked(relay, mode, model, prompt)
    return asked["client"].create(**asked["fields"])


def _partial(relay: Relay, model: str, prompt: str) -> list[City]:
    asked = _asked(relay, instructor.Mode.TOOLS, model, prompt)
    return list(asked["client"].create_partial(**asked["fields"]))


def whole() -> None:
    """An object of the caller's class, by a tool and by a JSON schema."""
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        city = _whole(Relay(URL), mode, "demo", "Name Lisbon")
        assert city.model_dump() == {"name": "Lisbon", "inhabitants": 7}, (mode, city)


def stream() -> None:
    """A partial object grows to the same."""
    parts = _partial(Relay(URL), "demo", "Name Lisbon")
    assert (parts[-1].name, parts[-1].inhabitants) == ("Lisbon", 7), parts


def failure() -> None:
    """A failure is an error with its code, and one request."""
    relay = Relay(URL)
    error = error_of(lambda: _whole(relay, instructor.Mode.TOOLS, "fails", "context"))
    assert "context_length_exceeded" in error, error
    assert relay.requests == 1, relay.requests


def failure_of_a_stream() -> None:
    """So it is for a stream."""
    error = error_of(lambda: _partial(Relay(URL), "fails", "context"))
    assert "context_length_exceeded" in error, error


def failure_in_a_stream() -> None:
    """A later failure is an error."""
    error = error_of(lambda: _partial(Relay(URL), "fails", "later quota"))
    assert "no money" in error or "quota" in error, error


def cut() -> None:
    """A stream whose connection is reset is an error."""
    relay = Relay(URL, cut_after=CUT_AFTER // 2, cuts=9)
    assert error_of(lambda: _partial(relay, "demo", "Name Lisbon"))


report(whole, stream, failure, failure_of_a_stream, failure_in_a_stream, cut)
