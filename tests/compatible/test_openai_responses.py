"""``/v1/responses`` as the official Python SDK sees it, unmodified but for its base URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.compatible.event_loop import run_in_own_loop
from tests.stack import Stack, running_stack, wait_for

PROMPT = "What is a spool?"
SLOW = {"tokens": 60, "rate": 30}
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[OpenAI]:
    """The SDK, at the first web."""
    with openai_at(stack, 0) as sdk:
        yield sdk


def openai_at(stack: Stack, web: int, **options: Any) -> OpenAI:
    """The SDK, at one of the webs."""
    return OpenAI(base_url=f"{stack.webs[web].url}/v1", api_key="none", **options)


def test_response_as_a_whole(client: OpenAI) -> None:
    """A response without a stream has the whole text and its usage."""
    response = client.responses.create(model="demo", input=PROMPT, extra_body={"tokens": 20, "rate": 0})
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    whole = client.responses.create(model="demo", input=PROMPT, extra_body={"rate": 0})
    assert whole.status == "completed"
    assert "demo" in whole.output_text
    assert whole.usage is not None
    assert whole.usage.output_tokens > 50


def test_response_as_a_stream(client: OpenAI) -> None:
    """The events come in the specification's order, numbered without a hole, and add up to the text."""
    with client.responses.create(model="demo", input=PROMPT, stream=True, extra_body={"rate": 0}) as stream:
        events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].response.output_text == text
    assert client.responses.retrieve(events[0].response.id).output_text == text


def test_stream_helper(client: OpenAI) -> None:
    """The SDK's own ``.stream()`` accumulates the response, with heartbeats in between, and can pick it up again."""
    slow = {"rate": 0, "first_token_s": 2.5}
    with client.responses.stream(model="demo", input=PROMPT, extra_body=slow) as stream:
        for _event in stream:
            pass
        final = stream.get_final_response()
    assert final.status == "completed"
    with client.responses.stream(response_id=final.id, starting_after=5) as again:
        numbers = [event.sequence_number for event in again if hasattr(event, "sequence_number")]
        assert again.get_final_response().output_text == final.output_text
    assert min(numbers) == 6


def test_stream_of_a_job_that_waits(client: OpenAI, stack: Stack) -> None:
    """While its job waits for its turn, the SDK's stream repeats its last event with the reason, and then goes on."""
    spool = {"conversation": {"id": "python responses"}}
    endless = {"tokens": 5000, "rate": 40, "spool": spool}
    before = client.responses.create(model="demo", input=PROMPT, background=True, extra_body=endless)
    told = []
    with client.responses.stream(model="demo", input=PROMPT, extra_body={"rate": 0, "spool": spool}) as stream:
        for event in stream:
            queued = (getattr(event, "model_extra", None) or {}).get("queued")
            if queued and not told:
                client.responses.cancel(before.id)
            told += [queued] if queued else []
        final = stream.get_final_response()
    assert told[0]["waiting_for"] == {"reason": "conversation", "job": before.id.removeprefix("resp_")}
    assert (final.status, bool(final.output_text)) == ("completed", True)
    assert stack.client().get(f"/jobs/{before.id.removeprefix('resp_')}").json()["status"] == "cancelled"


def test_background_then_poll(client: OpenAI, stack: Stack) -> None:
    """A response in the background is there at once, can be polled from any web, and ends by itself."""
    begun = client.responses.create(model="demo", input=PROMPT, background=True, extra_body={"tokens": 30, "rate": 60})
    assert begun.status in ("queued", "in_progress")
    assert begun.background
    with openai_at(stack, 1) as elsewhere:
        seen = wait_for(lambda: ended(elsewhere, begun.id), "it ends")
    assert seen.status == "incomplete"
    assert seen.output_text


def ended(client: OpenAI, response_id: str) -> Any:
    """The response once it has ended, else None."""
    response = client.responses.retrieve(response_id)
    return response if response.status not in ("queued", "in_progress") else None


@pytest.mark.parametrize("background", [True, False])
def test_resume_after_any_event(client: OpenAI, stack: Stack, background: bool) -> None:
    """``starting_after`` gives exactly the rest, from another web, whether it runs or has ended."""
    stream = client.responses.create(model="demo", input=PROMPT, stream=True, background=background, extra_body=SLOW)
    first = [next(stream) for _ in range(12)]
    stream.close()
    response_id = first[0].response.id
    with openai_at(stack, 1) as elsewhere:
        rest = list(elsewhere.responses.retrieve(response_id, stream=True, starting_after=11))
        whole = list(elsewhere.responses.retrieve(response_id, stream=True))
        assert not list(elsewhere.responses.retrieve(response_id, stream=True, starting_after=len(whole)))
    assert [event.to_dict() for event in first + rest] == [event.to_dict() for event in whole]
    assert whole[-1].type == "response.incomplete"


def test_cancel(client: OpenAI, stack: Stack) -> None:
    """A cancel from another web stops it, every stream ends, and cancelling again changes nothing."""
    stream = client.responses.create(model="demo", input=PROMPT, stream=True, extra_body={"tokens": 5000, "rate": 20})
    response_id = next(stream).response.id
    for event in stream:
        if event.type == "response.output_text.delta":
            break
    with openai_at(stack, 1) as elsewhere:
        assert elsewhere.responses.cancel(response_id).status == "cancelled"
        assert elsewhere.responses.cancel(response_id).status == "cancelled"
    last = list(stream)[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")
    assert client.responses.retrieve(response_id).status == "cancelled"


def test_delete(client: OpenAI) -> None:
    """A response that was deleted is gone, and cannot be gone on with."""
    response = client.responses.create(model="demo", input=PROMPT, extra_body={"tokens": 3, "rate": 0})
    client.responses.delete(response.id)
    with pytest.raises(openai.APIStatusError) as raised:
        client.responses.retrieve(response.id)
    assert raised.value.status_code == 410
    with pytest.raises(openai.NotFoundError, match="previous_response_id"):
        client.responses.create(model="demo", input="and now?", previous_response_id=response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_nothing")


def test_multi_turn_and_instructions(client: OpenAI) -> None:
    """``previous_response_id`` goes on with the conversation, whose input items can be listed turn by turn."""
    first = client.responses.create(
        model="demo", input=PROMPT, instructions="Be brief.", extra_body={"tokens": 5, "rate": 0}
    )
    second = client.responses.create(
        model="demo",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "And a reel?"}]}],
        previous_response_id=first.id,
        extra_body={"rate": 0},
    )
    assert first.instructions == "Be brief."
    assert second.instructions is None
    assert second.previous_response_id == first.id
    assert "And a reel?" in second.output_text
    items = client.responses.input_items.list(second.id).data
    assert [item.content[0].text for item in items] == ["And a reel?"]  # type: ignore[union-attr]


def test_previous_response_that_still_runs(client: OpenAI) -> None:
    """A conversation goes on from what has ended: before that it is refused, and not tried again by the SDK."""
    begun = client.responses.create(model="demo", input=PROMPT, background=True, extra_body={"tokens": 900, "rate": 9})
    with pytest.raises(openai.ConflictError):
        client.responses.create(model="demo", input="and?", previous_response_id=begun.id)
    client.responses.cancel(begun.id)


def test_tool_call_and_its_output(client: OpenAI) -> None:
    """A forced tool call comes as an item with whole arguments; its output is the next turn's input."""
    called = client.responses.create(
        model="demo", input="The weather in Paris?", tools=[WEATHER], tool_choice="required", extra_body={"rate": 0}
    )
    call = called.output[0]
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("get_weather", '{"city":"Paris"}')
    answered = client.responses.create(
        model="demo",
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}],
        previous_response_id=called.id,
        tools=[WEATHER],
        extra_body={"rate": 0},
    )
    assert "18 degrees" in answered.output_text
    again = client.responses.create(
        model="demo",
        input=[
            {"role": "user", "content": "The weather in Paris?"},
            call.to_dict(),  # type: ignore[list-item]
            {"type": "function_call_output", "call_id": call.call_id, "output": "19 degrees"},
        ],
        extra_body={"rate": 0},
    )
    assert "19 degrees" in again.output_text


def test_tool_call_as_a_stream(client: OpenAI) -> None:
    """The pieces of the arguments add up."""
    choice: Any = {"type": "function", "name": "get_weather"}
    with client.responses.create(
        model="demo", input="In Oslo?", tools=[WEATHER], tool_choice=choice, stream=True, extra_body={"rate": 0}
    ) as stream:
        events = list(stream)
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    assert "".join(pieces) == done.arguments == '{"city":"Oslo"}'


def test_structured_output(client: OpenAI) -> None:
    """``.parse()`` gets an object of the caller's own class."""

    class City(BaseModel):
        name: str
        inhabitants: int

    parsed = client.responses.parse(model="demo", input="Name Lisbon", text_format=City, extra_body={"rate": 0})
    assert parsed.output_parsed == City(name="Lisbon", inhabitants=7)


def test_image_input(client: OpenAI) -> None:
    """An image is taken, kept with the prompt, and listed as it came."""
    image: Any = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}
    content: Any = [{"type": "input_text", "text": "What is this?"}, image]
    response = client.responses.create(
        model="demo", input=[{"role": "user", "content": content}], extra_body={"tokens": 3, "rate": 0}
    )
    listed = client.responses.input_items.list(response.id).data[0]
    assert listed.content[1].to_dict() == image  # type: ignore[union-attr]


def test_reasoning_comes_before_the_answer(client: OpenAI) -> None:
    """What the model thinks is an item of its own."""
    response = client.responses.create(
        model="demo", input=PROMPT, reasoning={"effort": "low"}, extra_body={"tokens": 3, "rate": 0}
    )
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text == "Step 1 of 2. Step 2 of 2. "


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"conversation": "conv_1", "previous_response_id": "resp_1"}, "conversation"),
        ({"conversation": {"id": 1}}, "conversation"),
        ({"conversation": "conv_1", "spool": {"conversation": {"id": "c"}}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"input": [{"type": "computer_call"}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
        ({"input": [{"role": "user"}]}, "input[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata.a"),
    ],
)
def test_what_is_refused(client: OpenAI, body: dict[str, Any], field: str) -> None:
    """What Spool would have to do and does not is refused with its field's name, in OpenAI's shape."""
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model="demo", input=PROMPT, extra_body=body)
    error: Any = raised.value
    assert error.param.startswith(field)
    assert error.type == "invalid_request_error"
    assert error.request_id.startswith("req_")


def test_unknown_model(client: OpenAI) -> None:
    """A model that is not there is a 404 with OpenAI's code; those that are can be listed."""
    with pytest.raises(openai.NotFoundError) as raised:
        client.responses.create(model="gpt-nothing", input=PROMPT)
    assert raised.value.code == "model_not_found"
    assert "demo" in [model.id for model in client.models.list()]
    assert client.models.retrieve("demo").id == "demo"


def test_failure(client: OpenAI) -> None:
    """A waiting request whose job fails raises; the response can be read, with what it had said until then."""
    with pytest.raises(openai.InternalServerError, match="failed after 4 tokens") as raised:
        client.responses.create(model="demo", input=PROMPT, extra_body={"fail_after": 4, "rate": 0})
    assert raised.value.code == "demo_failure"
    response = client.responses.retrieve(f"resp_{raised.value.response.headers['x-spool-job']}")
    assert response.status == "failed"
    assert response.error is not None
    assert response.error.message.startswith("demo_failure: ")
    assert response.output_text


def test_idempotency_key(client: OpenAI) -> None:
    """The same key and body are the same response; another body is refused, and not tried again."""
    key = {"Idempotency-Key": "k-1"}
    one, two = (
        client.responses.create(model="demo", input=PROMPT, extra_headers=key, extra_body={"tokens": 3, "rate": 0})
        for _ in range(2)
    )
    assert one.id == two.id
    with pytest.raises(openai.UnprocessableEntityError):
        client.responses.create(model="demo", input="other", extra_headers=key)


def test_async_client(stack: Stack) -> None:
    """The asynchronous SDK streams and resumes as well."""

    async def run() -> tuple[str, str]:
        async with AsyncOpenAI(base_url=f"{stack.webs[0].url}/v1", api_key="none") as sdk:
            stream = await sdk.responses.create(model="demo", input=PROMPT, stream=True, extra_body={"rate": 0})
            events = [event async for event in stream]
            again = await sdk.responses.retrieve(events[0].response.id)  # type: ignore[union-attr]
            return events[-1].response.output_text, again.output_text  # type: ignore[union-attr]

    streamed, retrieved = run_in_own_loop(run())
    assert streamed == retrieved


def test_native_job_as_a_response(client: OpenAI, stack: Stack) -> None:
    """A job that came in by ``/jobs`` can be read as a response, and a response as a job."""
    job = stack.client(0).post("/jobs", json={"prompt": PROMPT, "params": {"tokens": 9, "rate": 0}}).json()["id"]
    wait_for(lambda: ended(client, f"resp_{job}"), "it ends")
    response = client.responses.retrieve(f"resp_{job}")
    assert response.output_text == stack.client(1).get(f"/jobs/{job}").json()["text"]
    made = client.responses.create(model="demo", input=PROMPT, extra_body={"tokens": 9, "rate": 0})
    assert stack.client(1).get(f"/jobs/{made.id.removeprefix('resp_')}").json()["text"] == made.output_text


@pytest.fixture(scope="module")
def mortal(short_dir: Path) -> Iterator[Stack]:
    """A stack whose parts a test may kill."""
    directory = short_dir / "mortal"
    directory.mkdir()
    with running_stack(directory, workers=1) as running:
        yield running


@pytest.mark.slow  # `make clients`
def test_web_dies_in_the_middle(mortal: Stack) -> None:
    """A background stream whose web is killed goes on at another one, complete, where ``starting_after`` says."""
    with openai_at(mortal, 0) as here, openai_at(mortal, 1) as there:
        stream = here.responses.create(model="demo", input=PROMPT, stream=True, background=True, extra_body=SLOW)
        seen = [next(stream) for _ in range(15)]
        mortal.webs[0].kill()
        seen += list(
            there.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
        )
        assert [event.sequence_number for event in seen] == list(range(len(seen)))
        assert seen[-1].type == "response.incomplete"
        text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
        assert seen[-1].response.output_text == text


@pytest.mark.slow
def test_worker_dies_in_the_middle(mortal: Stack) -> None:
    """A stream whose worker is killed goes on in the very same stream, where the model can; else it ends ``failed``."""
    tool = {"tools": [WEATHER], "tool_choice": "required", "rate": 0.2}
    with openai_at(mortal, 1) as client:
        text = client.responses.create(model="demo", input=PROMPT, stream=True, extra_body=SLOW)
        call = client.responses.create(model="demo", input="Paris?", stream=True, extra_body=tool)
        heads = [[next(one) for _ in range(count)] for one, count in ((text, 9), (call, 3))]
        mortal.workers[0].kill()
        mortal.workers[0].start()
        went_on, broke = (head + list(rest) for head, rest in zip(heads, (text, call), strict=True))
    assert went_on[-1].type == "response.incomplete"
    deltas = "".join(event.delta for event in went_on if event.type == "response.output_text.delta")
    assert went_on[-1].response.output_text == deltas
    assert broke[-1].type == "response.failed"
    assert broke[-1].response.error is not None
    assert broke[-1].response.error.message.startswith("worker_lost: ")


@pytest.mark.parametrize("query", ["?stream=x", "?stream=yes", "?stream=true&starting_after=x", "/input_items?order=x"])
def test_query_that_is_wrong(stack: Stack, query: str) -> None:
    """An argument with an unknown value is refused by its name: it must not mean its default."""
    client = stack.client()
    job = client.post("/jobs", json={"prompt": "x", "params": {"rate": 0, "tokens": 2}}).json()["id"]
    answer = client.get(f"/v1/responses/resp_{job}{query}")
    assert (answer.status_code, answer.json()["error"]["param"] in query) == (400, True)
