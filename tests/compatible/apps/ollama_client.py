"""Ollama's client for Python against a Spool before scripted upstreams: ``ollama_client.py URL``."""

from __future__ import annotations

import sys

from cases import report
from ollama import Client, ResponseError

client = Client(host=sys.argv[1])
HI = [{"role": "user", "content": "Hi"}]


def one(city: str) -> str:
    """The weather.

    Args:
      city: The city.

    """
    return f"cold in {city}"


def chat() -> None:
    """A whole answer has everything."""
    answer = client.chat("m", HI)
    assert answer.message.content == "Let me see."
    assert answer.message.thinking == "Hm. "
    calls = [(call.function.name, call.function.arguments) for call in answer.message.tool_calls or ()]
    assert calls == [("one", {"city": "Oslo"}), ("two", {"city": "Oslo"})]
    assert (answer.prompt_eval_count, answer.eval_count, answer.done) == (9, 7, True)


def chat_stream() -> None:
    """A stream adds up to the same."""
    parts = list(client.chat("m", HI, stream=True))
    assert "".join([part.message.content or "" for part in parts]) == "Let me see."
    assert [len(part.message.tool_calls) for part in parts if part.message.tool_calls] == [2]
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


def tools() -> None:
    """A function's result goes back to the model."""
    answer = client.chat("thinks", HI, tools=[one])
    history = [*HI, answer.message, {"role": "tool", "tool_name": "one", "content": one("Oslo")}]
    assert client.chat("thinks", history).message.content == "Answer 1."


def generate() -> None:
    """A generation, whole and as a stream."""
    assert client.generate("thinks", "Hi").response == "Answer 0."
    assert "".join([part.response for part in client.generate("thinks", "Hi", stream=True)]) == "Answer 0."
    assert not client.generate("thinks", "Hi", think=False).thinking


def refused(model: str, prompt: str, texts: list[str], *, stream: bool = True) -> ResponseError:
    """The error that the client raises; the texts before it are added to ``texts``."""
    messages = [{"role": "user", "content": prompt}]
    try:
        for part in client.chat(model, messages, stream=True) if stream else [client.chat(model, messages)]:
            texts.append(part.message.content or "")
    except ResponseError as error:
        return error
    raise AssertionError("no error")


def failure() -> None:
    """A failure before the first token has its status, in a stream too; a later one is raised in the stream."""
    texts: list[str] = []
    for is_streamed in (False, True):
        error = refused("fails", "words", texts, stream=is_streamed)
        assert (error.status_code, "context_length_exceeded" in error.error) == (400, True), error
    assert "insufficient_quota" in refused("fails", "later quota", texts).error
    assert "".join(texts) == "Hel"


def models() -> None:
    """Models are listed and shown; an unknown one is not found."""
    assert "m" in [model.model for model in client.list().models]
    assert "completion" in (client.show("m").capabilities or [])
    assert refused("none", "Hi", []).status_code == 404


report(chat, chat_stream, tools, generate, failure, models)
