"""``/v1/files`` as the official Python SDK sees it, unmodified but for its base URL."""

from __future__ import annotations

import os
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from tests.stack import Stack

CONTENT = b'{"custom_id": "line"}\n' * 20_000 + os.urandom(300_000)


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[OpenAI]:
    """The SDK, at the first web."""
    with OpenAI(base_url=f"{stack.webs[0].url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


def test_life_of_a_file(client: OpenAI, stack: Stack) -> None:
    """It is uploaded, listed, shown, read through the other web, and deleted."""
    expiry = {"anchor": "created_at", "seconds": 3600}
    file = client.files.create(file=("in.jsonl", CONTENT), purpose="batch", expires_after=expiry)  # type: ignore[arg-type]
    assert (file.bytes, file.filename, file.purpose, file.status) == (len(CONTENT), "in.jsonl", "batch", "processed")
    assert file.expires_at == file.created_at + 3600
    assert client.files.retrieve(file.id) == file
    assert client.files.wait_for_processing(file.id) == file
    other = client.with_options(base_url=f"{stack.webs[1].url}/v1")
    assert other.files.content(file.id).read() == CONTENT
    assert file in list(client.files.list(purpose="batch"))
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)


def test_list_pages_itself(client: OpenAI) -> None:
    """The SDK fetches page after page, in both orders."""
    ids = [client.files.create(file=("a", b"x"), purpose="user_data").id for _ in range(3)]
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        listed = client.files.list(limit=1, order=order, purpose="user_data")  # type: ignore[arg-type]
        assert [file.id for file in listed if file.id in ids] == expected


def test_paths_of_azure(stack: Stack) -> None:
    """Azure's client uploads and reads at its own paths."""
    azure = openai.AzureOpenAI(azure_endpoint=stack.webs[0].url, api_key="none", api_version="2024-10-21")
    file = azure.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    assert azure.files.content(file.id).read() == b"{}\n"
    assert azure.files.delete(file.id).deleted
