"""LangChain's ChatOpenAI against a Spool, unmodified but for its base URL: ``langchain_chat.py URL``."""

from __future__ import annotations

import asyncio
import sys
from functools import reduce
from operator import add
from typing import Any

from cases import report
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

PROMPT = "What is a spool?"
CONVERSATION = [SystemMessage("Be brief."), HumanMessage("Hello"), AIMessage("Hi."), HumanMessage(PROMPT)]


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"18 degrees in {city}"


def model(**options: Any) -> ChatOpenAI:
    """The chat model. ``extra_body`` is how its users reach parameters that only their server knows."""
    return ChatOpenAI(model="demo", base_url=f"{sys.argv[1]}/v1", api_key="none", extra_body={"rate": 0}, **options)


def responses(**options: Any) -> ChatOpenAI:
    """The same over the Responses API."""
    return model(use_responses_api=True, **options)


def invoke() -> None:
    """A whole answer, with usage, why it ended, and what was asked last."""
    answer = model().invoke(CONVERSATION)
    assert PROMPT in answer.content
    assert answer.usage_metadata["output_tokens"] > 50
    assert answer.response_metadata["finish_reason"] == "stop"
    assert model(max_tokens=4).invoke(PROMPT).response_metadata["finish_reason"] == "length"


def stream() -> None:
    """The chunks add up to the whole answer, and so does their usage."""
    chunks = list(model(stream_usage=True).stream(CONVERSATION))
    whole = model().invoke(CONVERSATION)
    total = reduce(add, chunks)
    assert len(chunks) > 50
    assert total.content == whole.content
    assert total.usage_metadata == whole.usage_metadata


def astream() -> None:
    """The same, asynchronously."""

    async def run() -> str:
        return "".join([chunk.content async for chunk in model().astream(PROMPT)])

    assert asyncio.run(run()) == model().invoke(PROMPT).content


def batch() -> None:
    """Many at once, in order."""
    prompts = [f"What is number {n}?" for n in range(6)]
    answers = model().batch(prompts)
    assert all(prompt in answer.content for prompt, answer in zip(prompts, answers, strict=True))


def tool_call() -> None:
    """A forced call, its result, and the answer to that; one that the prompt asks for; one that is streamed."""
    _converse(model())


def tool_call_over_responses() -> None:
    """The same over the Responses API."""
    _converse(responses())


def tool_call_on_the_server_s_conversation() -> None:
    """The same where each turn sends only what is new, and the id of the response before."""
    _converse(responses(use_previous_response_id=True))


def _converse(chat: ChatOpenAI) -> None:
    forced = chat.bind_tools([get_weather], tool_choice="get_weather")
    messages: list[Any] = [HumanMessage("How is Paris?")]
    called = forced.invoke(messages)
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    answer = chat.bind_tools([get_weather]).invoke([*messages, called, result])
    assert not answer.tool_calls
    assert "18 degrees in Paris" in answer.text
    named = chat.bind_tools([get_weather]).invoke("Ask get_weather about Oslo")
    assert [call["args"] for call in named.tool_calls] == [{"city": "Oslo"}]
    streamed = reduce(add, forced.stream([HumanMessage("How is Lima?")]))
    assert [call["args"] for call in streamed.tool_calls] == [{"city": "Lima"}]


def structured_output() -> None:
    """An object of the caller's class, by a JSON schema and by a function."""
    for method in ("json_schema", "function_calling"):
        for chat in (model(), responses()):
            city = chat.with_structured_output(City, method=method).invoke("Name Lisbon")
            assert city == City(name="Lisbon", inhabitants=7), method


def invoke_over_responses() -> None:
    """A whole answer, with usage; and the turn after it."""
    chat = responses(use_previous_response_id=True)
    answer = chat.invoke(CONVERSATION)
    assert answer.text == model().invoke(CONVERSATION).content
    assert answer.usage_metadata["output_tokens"] > 50
    assert answer.response_metadata["id"].startswith("resp_")
    assert "And a reel?" in chat.invoke([*CONVERSATION, answer, HumanMessage("And a reel?")]).text


def stream_over_responses() -> None:
    """The chunks add up, with usage, and reasoning stands apart from the text."""
    chat = responses(reasoning={"effort": "low"})
    total = reduce(add, chat.stream(PROMPT))
    assert total.text == model().invoke(PROMPT).content
    assert total.usage_metadata["output_tokens"] > 50
    assert total.response_metadata["status"] == "completed"


if __name__ == "__main__":
    report(
        invoke,
        stream,
        astream,
        batch,
        tool_call,
        structured_output,
        invoke_over_responses,
        stream_over_responses,
        tool_call_over_responses,
        tool_call_on_the_server_s_conversation,
    )
