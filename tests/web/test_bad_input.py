"""Bodies of ``POST /jobs`` that are wrong: each is refused with a problem that names the field, and nothing is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from spool import errors
from tests.stack import Stack
from tests.web.problem_shape import assert_problem, stored
from web.error_problems import problem_of

JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def nothing_done(guarded: Stack) -> Iterator[None]:
    """Whatever a test here sends, Redis holds afterwards what it held before."""
    before = stored(guarded.redis.link)
    yield
    assert stored(guarded.redis.link) == before


def nested(depth: int) -> str:
    """JSON arrays within each other."""
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"prompt",
        b'{"prompt": "x"',
        b"{'prompt': 'x'}",
        b'{"prompt": "x"} {}',
        b'{"prompt": NaN}',
        b'{"prompt": "x", "timeout_s": Infinity}',
        b'{"prompt": "\xff\xfe"}',
        b'{"prompt": "\xc3\x28"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "\\udc00\\ud800"}',
        b'{"\\ud800": "x"}',
        b'{"prompt": "a\nb"}',
        b'\xef\xbb\xbf{"prompt": "x"}',
        '{"prompt": "x"}'.encode("utf-16"),
        b"\x1f\x8b\x08\x00",
        nested(2_000).encode(),
        nested(30_000).encode(),
        b'{"prompt":"x","params":' + nested(30_000).encode() + b"}",
    ],
    ids=repr,
)
def test_body_not_json(alice: httpx.Client, body: bytes) -> None:
    """A body that is no JSON in UTF-8 is refused."""
    assert_problem(alice.post("/jobs", content=body, headers=JSON), 422, "body")


@pytest.mark.parametrize("body", ["null", "true", "7", '"x"', "[]", '[{"prompt":"x"}]'])
def test_body_not_an_object(alice: httpx.Client, body: str) -> None:
    """JSON that is no object is refused."""
    assert_problem(alice.post("/jobs", content=body, headers=JSON), 422, "body")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"prompt": None}, "body"),
        ({}, "body"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "body"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n\t"}, "prompt"),
        ({"prompt": "\u2003"}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": ["x"]}, "prompt"),
        ({"prompt": {"x": "y"}}, "prompt"),
        ({"prompt": True}, "prompt"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": [7]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": 1, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": ""}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": 7}]}, "messages[1].content"),
    ],
    ids=repr,
)
def test_prompt_and_messages(alice: httpx.Client, said: dict[str, Any], field: str) -> None:
    """A submit has either a prompt that is not empty or well-formed messages; the wrong place is named."""
    assert_problem(alice.post("/jobs", json=said), 422, field)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ms", -1),
        ("ms", 10_001),
        ("ms", 0.5),
        ("ms", "5"),
        ("ms", True),
        ("ms", None),
        ("chars", 0),
        ("chars", 8193),
        ("chars", None),
        ("sentence_end", 1),
        ("sentence_end", None),
        ("words", 5),
    ],
)
def test_field_of_coalesce(alice: httpx.Client, name: str, value: Any) -> None:
    """A field of ``coalesce`` that is unknown, of another type or out of range is named by its path."""
    assert_problem(alice.post("/jobs", json={"prompt": "x", "coalesce": {name: value}}), 422, f"coalesce.{name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", 7),
        ("model", ""),
        ("model", "m" * 201),
        ("params", []),
        ("params", None),
        ("params", "x"),
        ("priority", "urgent"),
        ("priority", 1),
        ("priority", None),
        ("priority", ["batch"]),
        ("metadata", []),
        ("metadata", None),
        ("metadata", {f"k{n}": "v" for n in range(17)}),
        ("ttl_s", 0),
        ("ttl_s", -1),
        ("ttl_s", 1.5),
        ("ttl_s", "60"),
        ("ttl_s", True),
        ("ttl_s", 31_536_001),
        ("ttl_s", 10**30),
        ("timeout_s", 0),
        ("timeout_s", -1),
        ("timeout_s", "60"),
        ("timeout_s", True),
        ("timeout_s", 604_801),
        ("timeout_s", 1e300),
        ("timeout_s", 10**30),
        ("on_disconnect", "explode"),
        ("on_disconnect", 0),
        ("on_worker_loss", "explode"),
        ("on_worker_loss", False),
        ("coalesce", True),
        ("coalesce", 0),
        ("coalesce", "1s"),
        ("coalesce", [{}]),
        ("stream", True),
        ("strange", 1),
        ("list[x]", 1),
        ("Prompt", "x"),
        ("owner", "bob"),
        ("id", "j0-00000000000000000000000000"),
        ("batch", "b0-00000000000000000000000000"),
        ("", 1),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_field_wrong(alice: httpx.Client, name: str, value: Any) -> None:
    """A field that is unknown, of the wrong type or out of range is named by its path."""
    document = assert_problem(alice.post("/jobs", json={"prompt": "x", name: value}), 422)
    assert document["errors"][0]["field"] == (name or "body")


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"k" * 65: "v"}, "metadata." + "k" * 65),
        ({"k": "v" * 513}, "metadata.k"),
        ({"k": 1}, "metadata.k"),
        ({"k": None}, "metadata.k"),
        ({"k": {}}, "metadata.k"),
        ({"strange": 1}, "metadata.strange"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_metadata_wrong(alice: httpx.Client, metadata: dict[str, Any], field: str) -> None:
    """Metadata is at most 16 short strings under short names."""
    document = assert_problem(alice.post("/jobs", json={"prompt": "x", "metadata": metadata}), 422)
    assert document["errors"][0]["field"].startswith(field)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens", -1),
        ("tokens", 200_001),
        ("tokens", 1.5),
        ("tokens", "5"),
        ("rate", -1),
        ("rate", 1e300),
        ("rate", "fast"),
        ("rate", None),
        ("first_token_s", 3601),
        ("seed", -1),
        ("seed", 2**60),
        ("fail_after", -1),
        ("stamp", 1),
        ("stamp", "yes"),
        ("reasoning", 10_001),
        ("temperature", 1),
        ("stop", "x"),
    ],
)
def test_demo_params_wrong(alice: httpx.Client, name: str, value: Any) -> None:
    """The demo's params are checked at the submit, not when the job runs."""
    response = alice.post("/jobs", json={"prompt": "x", "model": "demo", "params": {name: value}})
    assert_problem(response, 422, f"params.{name}")


def test_every_wrong_field_is_named(alice: httpx.Client) -> None:
    """One answer names all that is wrong."""
    said = {"prompt": 7, "model": 7, "params": [], "priority": "x", "metadata": 7, "ttl_s": "x", "unknown": 1}
    document = assert_problem(alice.post("/jobs", json=said), 422)
    assert {error["field"] for error in document["errors"]} == set(said)


def test_many_wrong_fields(alice: httpx.Client) -> None:
    """The answer stays small, however much is wrong."""
    said = {"prompt": "x", **{f"unknown{n}": n for n in range(2000)}}
    response = alice.post("/jobs", json=said)
    assert_problem(response, 422)
    assert len(response.content) < 10_000


def test_wrong_field_with_a_long_name(alice: httpx.Client) -> None:
    """The answer stays small, however long a name is."""
    response = alice.post("/jobs", json={"prompt": "x", "n" * 60_000: 1})
    assert_problem(response, 422)
    assert len(response.content) < 10_000


@pytest.mark.parametrize("name", ["gpt-99", "Demo", "demo ", "de\x00mo", "🧵", "../demo"])
def test_model_unknown(alice: httpx.Client, name: str) -> None:
    """A model that nobody knows is refused, with the names of those that are known."""
    document = assert_problem(alice.post("/jobs", json={"prompt": "x", "model": name}), 422, "model")
    assert document["known_models"] == ["demo"]


@pytest.mark.parametrize(("depth", "field"), [(100, "ttl_s"), (195, "ttl_s"), (196, "body"), (300, "body")])
def test_deep_json_in_a_free_field(alice: httpx.Client, depth: int, field: str) -> None:
    """JSON in which anything may stand has at most 200 levels, its own five included."""
    part = {"role": "user", "content": [{"type": "x", "deep": json.loads(nested(depth))}]}
    assert_problem(alice.post("/jobs", json={"messages": [part], "ttl_s": 0}), 422, field)


@pytest.mark.parametrize(
    "name", ["priority", "on_disconnect", "on_worker_loss", "coalesce", "metadata", "model", "ttl_s"]
)
@pytest.mark.parametrize(("depth", "shown"), [(190, None), (1000, "body"), (30_000, "body")])
def test_deep_json_in_a_field_of_one_shape(alice: httpx.Client, name: str, depth: int, shown: str | None) -> None:
    """A field that is nested deeply instead of being what it should is named, or the body is."""
    body = '{"prompt":"x","' + name + '":' + nested(depth) + "}"
    assert_problem(alice.post("/jobs", content=body, headers=JSON), 422, shown or name)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"messages": [{"role": "user", "content": [1] * 30_000}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "x"}] * 1001}]}, "messages[0].content"),
        ({"messages": [1] * 10_001}, "messages"),
        ({"messages": [1] * 10_000}, "messages[0]"),
        ({"prompt": "x", "metadata": {f"k{n}": n for n in range(5000)}}, "metadata"),
        ({"prompt": "x", "coalesce": {f"k{n}": n for n in range(5000)}}, "coalesce.k0"),
        ({"prompt": "x", "params": {f"k{n}": n for n in range(5000)}}, "params"),
        ({"prompt": "x", "params": {f"k{n}": n for n in range(1000)}}, "params.k0"),
        ({"prompt": "x", "params": {"tools": [1] * 30_000}}, "params.tools[0]"),
        ({f"k{n}": n for n in range(5000)}, "body"),
        ({f"k{n}": n for n in range(1000)}, "k0"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_many_wrong_values(alice: httpx.Client, said: dict[str, Any], field: str) -> None:
    """However many values are wrong, the answer names the first few."""
    response = alice.post("/jobs", content=json.dumps(said, separators=(",", ":")), headers=JSON)
    assert len(assert_problem(response, 422, field)["errors"]) <= 20
    assert len(response.content) < 5000


@pytest.mark.parametrize("depth", [300, 900])
def test_json_too_deep_to_be_stored(alice: httpx.Client, depth: int) -> None:
    """JSON that is too deep is refused by name."""
    part = {"role": "user", "content": [{"type": "x", "deep": json.loads(nested(depth))}]}
    assert_problem(alice.post("/jobs", json={"messages": [part]}), 422, "body")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", ""]
)
def test_media_type_wrong(alice: httpx.Client, media_type: str) -> None:
    """A body that does not say it is JSON is refused."""
    assert_problem(alice.post("/jobs", content=b'{"prompt":"x"}', headers={"Content-Type": media_type}), 415)


def test_media_type_missing(alice: httpx.Client) -> None:
    """A body that says nothing about itself is refused."""
    assert_problem(alice.post("/jobs", content=b'{"prompt":"x"}'), 415)


def test_body_too_large(alice: httpx.Client) -> None:
    """A body over the limit is refused, and the limit named."""
    document = assert_problem(alice.post("/jobs", json={"prompt": "x" * 70_000}), 413)
    assert "65536" in document["detail"]


def test_body_too_large_in_chunks(alice: httpx.Client) -> None:
    """A body that does not say its length is held to the same limit."""
    chunks = iter([b'{"prompt":"', *[b"x" * 8192] * 10, b'"}'])
    assert_problem(alice.post("/jobs", content=chunks, headers=JSON), 413)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"prompt": "x" * 2001}, "prompt"),
        ({"prompt": "🧵" * 501}, "prompt"),
        ({"messages": [{"role": "user", "content": "x" * 1000}] * 2}, "messages"),
    ],
    ids=["prompt", "bytes", "messages"],
)
def test_prompt_too_large(alice: httpx.Client, said: dict[str, Any], field: str) -> None:
    """A prompt over its limit, counted in bytes, is refused by name."""
    document = assert_problem(alice.post("/jobs", json=said), 413, field)
    assert "2000" in document["detail"]


@pytest.mark.parametrize("value", ["", "k" * 256, "a\tb"])
def test_idempotency_key_wrong(alice: httpx.Client, value: str) -> None:
    """An Idempotency-Key is 1 to 255 printable characters."""
    headers = {"Idempotency-Key": value}
    assert_problem(alice.post("/jobs", json={"prompt": "x"}, headers=headers), 422, "Idempotency-Key")


@pytest.mark.parametrize(
    ("exc", "detail"),
    [
        (errors.UndecodableRecord("job", b""), "this job cannot be read; submit the job again"),
        (errors.BatchDamaged("batch", b""), "this batch cannot be read; submit the batch again"),
        (errors.ConversationDamaged("", b""), "this conversation cannot be read; delete it, and begin another"),
        (errors.DeliveryDamaged("delivery", b""), "this delivery cannot be read; it cannot be sent again"),
        (errors.FileDamaged("file", b""), "this file cannot be read; delete it, and upload it again"),
        (errors.KeyDamaged("key", b""), "this key cannot be read; revoke it, and create another"),
        (errors.WebhookDamaged("webhook", b""), "this webhook cannot be read; delete it, and create another"),
    ],
    ids=lambda value: value.noun if isinstance(value, errors.UndecodableRecord) else "",
)
def test_damaged_record_names_its_kind(exc: errors.UndecodableRecord, detail: str) -> None:
    """The answer says which record is damaged, and the remedy for its kind."""
    problem = problem_of(exc)
    assert (problem.status, problem.title) == (409, "Record damaged")
    assert detail in problem.detail
