"""``/v1/batches`` as the official Python SDK sees it, unmodified but for its base URL: the whole life of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import orjson
import pytest
from openai import OpenAI
from openai.types import Batch

from tests.stack import Stack, wait_for

CHAT = "/v1/chat/completions"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "x"}]},
    "/v1/responses": {"input": "x"},
    "/v1/completions": {"prompt": "x"},
    "/v1/embeddings": {"input": "x"},
    "/v1/images/generations": {"prompt": "x"},
}
OBJECTS = {
    CHAT: "chat.completion",
    "/v1/responses": "response",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "list",
    "/v1/images/generations": None,
}
ENDED = ("completed", "failed", "expired", "cancelled")


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[OpenAI]:
    """The SDK, at the first web."""
    with OpenAI(base_url=f"{stack.webs[0].url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


def line(custom_id: str = "c", url: str = CHAT, **body: Any) -> dict[str, Any]:
    """A line that the demo answers at once."""
    speed = {"rate": 0, "tokens": 5} if url in (CHAT, "/v1/responses", "/v1/completions") else {}
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": url,
        "body": {"model": "demo", **BODIES[url], **speed, **body},
    }


def created(client: OpenAI, lines: list[Any], url: Any = CHAT, window: Any = "24h", **options: Any) -> Batch:
    """A batch of these lines; text is a line as it is."""
    content = b"\n".join(each.encode() if isinstance(each, str) else orjson.dumps(each) for each in lines)
    file = client.files.create(file=("in.jsonl", content + b"\n"), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=url, completion_window=window, **options)
    assert (batch.status, batch.input_file_id, batch.errors) == ("validating", file.id, None)
    return batch


def ended(client: OpenAI, batch: Batch) -> Batch:
    """The batch once it has ended."""
    return wait_for(lambda: (now := client.batches.retrieve(batch.id)).status in ENDED and now, f"{batch.id} ends")


def lines_of(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of a file."""
    assert file_id is not None
    return [orjson.loads(each) for each in client.files.content(file_id).text.splitlines()]


def test_life_of_a_batch(client: OpenAI, stack: Stack) -> None:
    """Each line is in the output once, whatever web is asked; times are in order, counts and usage are sums."""
    batch = ended(client, created(client, [line(f"c{n}") for n in range(20)], metadata={"a": "b"}))
    assert (batch.status, batch.error_file_id, batch.model, batch.metadata) == ("completed", None, "demo", {"a": "b"})
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (20, 20, 0)
    times = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
    assert times == sorted(times)  # type: ignore[type-var]
    other = client.with_options(base_url=f"{stack.webs[1].url}/v1")
    lines = lines_of(other, batch.output_file_id)
    assert {each["custom_id"] for each in lines} == {f"c{n}" for n in range(20)}
    assert len(lines) == 20
    bodies = [each["response"]["body"] for each in lines]
    assert batch.usage is not None
    assert sum(body["usage"]["completion_tokens"] for body in bodies) == batch.usage.output_tokens
    raw = client.files.with_raw_response.content(str(batch.output_file_id))
    assert raw.headers["Content-Disposition"] == f"attachment; filename=batch_output_{batch.id}.jsonl"
    file = client.files.retrieve(str(batch.output_file_id))
    assert (file.purpose, file.bytes) == ("batch_output", len(raw.content))


@pytest.mark.parametrize("url", BODIES)
def test_endpoint_of_a_line(client: OpenAI, url: str) -> None:
    """A line may name each endpoint; its body is what that endpoint answers."""
    batch = ended(client, created(client, [line(url=url)], url))
    (found,) = lines_of(client, batch.output_file_id)
    assert (found["custom_id"], found["error"], found["response"]["status_code"]) == ("c", None, 200)
    assert found["response"]["body"].get("object") == OBJECTS[url]


WRONG: dict[str, tuple[Any, str, str | None]] = {
    "no JSON": ("{", "invalid_json_line", None),
    "no object": ("7", "invalid_json_line", None),
    "no custom_id": ({**line(), "custom_id": None}, "missing_required_parameter", "custom_id"),
    "no method": ({**line(), "method": ""}, "missing_required_parameter", "method"),
    "no url": ({"custom_id": "w", "method": "POST", "body": {}}, "missing_required_parameter", "url"),
    "no body": ({**line(), "body": None}, "missing_required_parameter", "body"),
    "stream": (line("s", stream=True), "streaming_unsupported", "body.stream"),
    "url": ({**line("u"), "url": "/v1/other"}, "invalid_url", "url"),
    "model": (line("m", model="gpt-99"), "model_not_found", "body.model"),
    "body": (line("b", messages=[{"role": "king"}]), "invalid_request", "body.messages[0].role"),
    "method": ({**line("g"), "method": "GET"}, "invalid_request", "method"),
    "custom_id": (line("first"), "duplicate_custom_id", "custom_id"),
}


class LosingTransport(httpx2.HTTPTransport):
    """A connection that loses the first answer to a create."""

    lost = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer, if it is not lost."""
        response = super().handle_request(request)
        if request.url.path.endswith("/batches") and not self.lost:
            response.read()
            self.lost = 1
            raise httpx2.ReadError("the answer is lost")
        return response


def test_create_that_the_sdk_repeats_is_one_batch(client: OpenAI, stack: Stack) -> None:
    """The SDK's own retry gets the batch of its first try, and the next equal create another one."""
    file = client.files.create(file=("in.jsonl", orjson.dumps(line())), purpose="batch")
    before, transport = {batch.id for batch in client.batches.list()}, LosingTransport()
    asked: Any = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
    http = httpx2.Client(transport=transport)
    with OpenAI(base_url=f"{stack.webs[0].url}/v1", api_key="none", max_retries=2, http_client=http) as sdk:
        repeated = sdk.batches.create(**asked)
        assert transport.lost
        assert {batch.id for batch in client.batches.list()} - before == {repeated.id}
        assert sdk.batches.create(**asked).id != repeated.id


def test_webhook_and_expiry_of_the_output(client: OpenAI) -> None:
    """``output_expires_after`` gives both files their end, and ``spool.webhook`` must be a receiver."""
    batch = ended(client, created(client, [line()], output_expires_after={"anchor": "created_at", "seconds": 3600}))
    file = client.files.retrieve(batch.output_file_id or "")
    assert file.expires_at == file.created_at + 3600
    assert file.bytes == len(client.files.content(file.id).content)
    assert file.id in {each.id for each in client.files.list(purpose="batch_output")}
    with pytest.raises(openai.BadRequestError, match="url"):
        created(client, [line()], extra_body={"spool": {"webhook": {"url": "x"}}})


def test_wrong_lines_fail_the_batch(client: OpenAI) -> None:
    """Each is listed with its number, its code and the wrong field; nothing runs."""
    batch = ended(client, created(client, [line("first"), "", *(wrong for wrong, _code, _param in WRONG.values())]))
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.errors is not None
    found = [(error.line, error.code, error.param) for error in batch.errors.data or ()]
    assert found == [(number, code, param) for number, (_line, code, param) in enumerate(WRONG.values(), 3)]
    assert (batch.failed_at or 0) >= batch.created_at


def test_wrong_lines_are_skipped_on_request(client: OpenAI) -> None:
    """With ``on_bad_line: skip`` the others run, and each wrong one is in the error file."""
    lines = ["{", line("a"), {**line("u"), "url": "/v1/other"}]
    batch = ended(client, created(client, lines, metadata={"on_bad_line": "skip"}))
    assert batch.status == "completed"
    assert [each["custom_id"] for each in lines_of(client, batch.output_file_id)] == ["a"]
    errors = {each["error"]["code"]: each["custom_id"] for each in lines_of(client, batch.error_file_id)}
    assert errors == {"invalid_json_line": None, "invalid_url": "u"}


def test_file_without_lines_or_that_does_not_exist(client: OpenAI) -> None:
    """The batch fails with one error, which is that of no line."""
    empty = ended(client, created(client, ["", ""]))
    missing = client.batches.create(input_file_id="file-x", endpoint=CHAT, completion_window="24h")
    found = []
    for batch in (empty, ended(client, missing)):
        assert batch.status == "failed"
        assert batch.errors is not None
        (error,) = batch.errors.data or ()
        found.append((error.code, error.line, str(error.message)[:16]))
    assert found == [("empty_file", None, "The input file i"), ("invalid_request", None, "Cannot find file")]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("endpoint", "/v1/x", "invalid_value"),
        ("completion_window", "1y", "invalid_value"),
        ("completion_window", 24, "invalid_type"),
        ("metadata", 3, "invalid_type"),
        ("metadata", {"on_bad_line": "x"}, "invalid_value"),
        ("input_file_id", None, "invalid_type"),
    ],
    ids=str,
)
def test_wrong_field_of_a_create(client: OpenAI, field: str, value: Any, code: str) -> None:
    """It is refused with the field and what is wrong with it."""
    asked: Any = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h", field: value}
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(**asked)
    assert (caught.value.param, caught.value.code) == (field, code)


def test_cancel(client: OpenAI) -> None:
    """What never ran says so in the error file; twice is fine, and of a completed batch a conflict."""
    slow = [line(f"c{n}", tokens=400, rate=20) for n in range(5)]
    batch = created(client, slow)
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    batch = ended(client, batch)
    assert (batch.status, batch.output_file_id) == ("cancelled", None)
    assert (batch.cancelled_at or 0) >= (batch.cancelling_at or 0) >= batch.created_at
    errors = lines_of(client, batch.error_file_id)
    assert {each["error"]["code"] for each in errors} == {"batch_cancelled"}
    assert len(errors) == 5
    completed = ended(client, created(client, [line()]))
    with pytest.raises(openai.ConflictError) as caught:
        client.batches.cancel(completed.id)
    assert caught.value.response.headers["x-should-retry"] == "false"


@pytest.mark.slow
def test_expiry(client: OpenAI) -> None:
    """A batch that takes longer than its window expires, with what has not ended in the error file."""
    batch = ended(client, created(client, [line(tokens=400, rate=20)], window="1s"))
    assert batch.status == "expired"
    assert batch.expired_at is not None
    (found,) = lines_of(client, batch.error_file_id)
    assert found["error"]["code"] == "batch_expired"


def test_list_pages_itself(client: OpenAI) -> None:
    """The SDK fetches page after page, newest first."""
    ids = [created(client, ["{"]).id for _ in range(3)]
    listed = [batch.id for batch in client.batches.list(limit=2)]
    assert listed[:3] == ids[::-1]
    assert len(listed) == len(set(listed))


def test_batch_that_does_not_exist(client: OpenAI) -> None:
    """Neither it nor its files."""
    missing = "b0-" + "0" * 26
    for call in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            call(missing)
    with pytest.raises(openai.NotFoundError):
        client.files.content(f"file-{missing}-output")
