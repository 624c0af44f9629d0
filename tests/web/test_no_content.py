"""Answers without content: 204, 304, HEAD; and no redirects."""

from __future__ import annotations

import httpx
import pytest

from tests.stack import wait_for
from tests.web.problem_shape import assert_problem


@pytest.fixture
def job(alice: httpx.Client) -> str:
    """A job that was cancelled."""
    job_id: str = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    alice.post(f"/jobs/{job_id}/cancel")
    return job_id


def assert_bare(response: httpx.Response, status: int) -> None:
    """No content, and nothing that describes it."""
    assert (response.status_code, response.content) == (status, b"")
    assert not {"Content-Type", "Content-Length", "Transfer-Encoding"} & {name.title() for name in response.headers}


def test_answers_without_content(alice: httpx.Client, job: str) -> None:
    """A 204 and a 304 say nothing about a content that they do not have."""
    last = alice.get(f"/jobs/{job}/entries", params={"wait": 0}).json()["next"]
    assert_bare(alice.get(f"/jobs/{job}/stream", params={"after": last}), 204)
    assert_bare(alice.get("/ai/chat/none/stream"), 204)
    etag = alice.get(f"/jobs/{job}").headers["ETag"]
    assert_bare(alice.get(f"/jobs/{job}", headers={"If-None-Match": etag}), 304)
    assert_bare(alice.delete(f"/jobs/{job}"), 204)


def test_head_of_a_stream(alice: httpx.Client, job: str) -> None:
    """HEAD answers as GET would, without a length that nobody knows yet."""
    for path in (f"/jobs/{job}/stream", f"/v1/responses/resp_{job}?stream=true"):
        response = alice.head(path)
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert "Content-Length" not in response.headers


def test_head_holds_no_stream(alice: httpx.Client) -> None:
    """HEAD takes no place among the streams, on any surface."""
    job = alice.post("/jobs", json={"prompt": "x"}).json()["id"]
    chat = {"id": "head", "messages": [{"role": "user", "parts": [{"type": "text", "text": "x"}]}]}
    with alice.stream("POST", "/ai/chat", json=chat) as response:
        assert response.status_code == 200
    paths = [f"/jobs/{job}/stream", f"/v1/responses/resp_{job}?stream=true", "/ai/chat/head/stream"]

    def streams() -> float:
        lines = alice.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("spool_streams{"))

    wait_for(lambda: streams() == 0, "no stream is open")
    for path in paths * 3:
        assert alice.head(path).status_code == 200
    assert streams() == 0


@pytest.mark.parametrize("path", ["/jobs/", "/jobs//x", "/batches/", "/livez/", "/batches//x/results"])
def test_no_redirects(alice: httpx.Client, path: str) -> None:
    """A path is what it says: another spelling is not there."""
    assert_problem(alice.get(path), 404)


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "Script-Name"])
def test_header_of_the_server_itself(alice: httpx.Client, name: str) -> None:
    """Headers that a server would use for itself mean nothing."""
    response = alice.get("/jobs", headers={name: "/x"})
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")


def test_compressed_body(alice: httpx.Client) -> None:
    """A compressed body is refused, and what is accepted is named."""
    for path in ("/jobs", "/ai/chat", "/ai/chat/x/stop"):
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        response = alice.post(path, content=b"\x1f\x8b", headers=headers)
        assert_problem(response, 415)
        assert response.headers["Accept-Encoding"] == "identity"
