"""``/v1/files`` over HTTP: owners, limits, and errors in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from spool.errors import ContentsUnavailable
from spool.files.file import new_file_id
from tests.stack import Stack, wait_for
from tests.web.conftest import ALICE
from web.error_problems import problem_of

NOBODYS = new_file_id(1)
CALLS: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
    "show": lambda client, file: client.get(f"/v1/files/{file}"),
    "content": lambda client, file: client.get(f"/v1/files/{file}/content"),
    "delete": lambda client, file: client.delete(f"/v1/files/{file}"),
}


def upload(client: httpx.Client, content: bytes = b"{}\n", name: str = "a.jsonl", **fields: str) -> httpx.Response:
    """The answer to an upload."""
    return client.post("/v1/files", data={"purpose": "batch", **fields}, files={"file": (name, content)})


def error(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error object."""
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()["error"]
    assert found.keys() == {"message", "type", "param", "code"}
    return found


@pytest.mark.parametrize("call", CALLS)
def test_unknown_and_foreign_file_look_the_same(alice: httpx.Client, bob: httpx.Client, call: str) -> None:
    """Another owner's file and one that never was get the same answer; nothing happens to it."""
    theirs = upload(bob).json()["id"]
    unknown, foreign = CALLS[call](alice, NOBODYS), CALLS[call](alice, theirs)
    assert error(unknown, 404) == error(foreign, 404)
    assert bob.get(f"/v1/files/{theirs}/content").content == b"{}\n"
    for file_id in ("file-", "nonsense", theirs + ":0", "%ff", "x" * 3000):
        assert CALLS[call](bob, file_id).status_code == 404
    assert theirs not in alice.get("/v1/files").text


@pytest.mark.parametrize(
    ("fields", "name", "param"),
    [
        ({"purpose": "fine-tune"}, "a", "purpose"),
        ({"purpose": ""}, "a", "purpose"),
        ({"expires_after[anchor]": "created_at"}, "a", "expires_after[seconds]"),
        ({"expires_after[seconds]": "3600"}, "a", "expires_after[anchor]"),
        ({"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "a", "expires_after[anchor]"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "60"}, "a", "expires_after[seconds]"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "1e9"}, "a", "expires_after[seconds]"),
        ({}, "a" * 256, "file"),
    ],
    ids=str,
)
def test_wrong_field_is_named(alice: httpx.Client, fields: dict[str, str], name: str, param: str) -> None:
    """The error names the field, wherever it stands in the form; no file is made."""
    before = alice.get("/v1/files").json()
    assert error(upload(alice, name=name, **fields), 400)["param"] == param
    parts = [("file", (name, b"x")), *((each, (None, value)) for each, value in {"purpose": "batch", **fields}.items())]
    assert error(alice.post("/v1/files", files=parts), 400)["param"] == param  # type: ignore[arg-type]
    assert alice.get("/v1/files").json() == before


def test_form_without_a_file_or_purpose(alice: httpx.Client) -> None:
    """Both are required."""
    assert error(alice.post("/v1/files", files={"purpose": (None, "batch")}), 400)["param"] == "file"
    assert error(alice.post("/v1/files", files={"file": ("a", b"x")}), 400)["param"] == "purpose"


def test_upload_that_breaks_off_leaves_nothing(guarded: Stack) -> None:
    """A client that disconnects in the middle of a file leaves no key of it."""

    def half() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        yield b"x" * 600_000
        wait_for(lambda: keys_of_uploads(guarded), "the upload has begun")
        raise ConnectionAbortedError

    headers = {"Content-Type": "multipart/form-data; boundary=b", "Authorization": f"Bearer {ALICE}"}
    before = keys_of_uploads(guarded)
    assert not before
    with guarded.client(headers=headers) as client, pytest.raises(ConnectionAbortedError):
        client.post("/v1/files", content=half())
    wait_for(lambda: not keys_of_uploads(guarded), "nothing of it is left")


def keys_of_uploads(stack: Stack) -> list[bytes]:
    """The records of uploads in progress."""
    link = stack.redis.link
    records = [key for key in link.call("KEYS", "spool:{0}:file:*") if key.count(b":") == 3]
    return [key for key in records if link.call("HGET", key, "status") == b"uploading"]


def test_content_is_never_a_page(alice: httpx.Client) -> None:
    """A browser saves it and does not guess its type; a range of it has its headers; the list is in pages."""
    file = upload(alice, b"<script>", 'a"\r\n.html', purpose="user_data").json()
    found = alice.get(f"/v1/files/{file['id']}/content", headers={"Range": "bytes=1-6"})
    assert (found.status_code, found.content) == (206, b"script")
    assert found.headers["Content-Type"] == "application/octet-stream"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert found.headers["Content-Disposition"].startswith("attachment")
    assert alice.head(f"/v1/files/{file['id']}/content").headers["Content-Length"] == "8"
    assert alice.get("/v1/files?purpose=user_data&limit=1").json()["data"][0] == file
    assert error(alice.get("/v1/files?limit=0"), 400)["param"] == "limit"


@pytest.mark.parametrize(
    "query",
    [
        {"after": "zzz"},
        {"after": "zzz", "order": "asc"},
        {"after": "file-", "purpose": "batch"},
        {"after": f"file-b0-{'0' * 26}-output", "order": "asc"},
        {"after": f"file-b0-{'0' * 26}-output", "purpose": "batch"},
        {"after": f"file-{'0' * 37}", "purpose": "batch_output"},
    ],
    ids=str,
)
def test_after_that_is_no_place_of_the_list(alice: httpx.Client, query: dict[str, str]) -> None:
    """A cursor that the list does not have is refused: it must not lead to the list's beginning, or to its end."""
    upload(alice)
    assert error(alice.get("/v1/files", params=query), 400)["param"] == "after"


def test_directory_or_bucket_that_fails() -> None:
    """The answer says that it is not Redis, and shows no path and no name of a bucket."""
    problem = problem_of(ContentsUnavailable("SPOOL_FILES_URL: [Errno 28] No space left on device: '/srv/secret'"))
    assert (problem.status, problem.detail) == (503, "the store of files does not answer; retry")
