"""Request ids on every way in and out, and a job's life as a search for its id in the logs finds it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import pytest

import spool
from tests.stack import Stack, wait_for
from tests.web.conftest import ALICE
from tests.web.delivery.test_websocket import connected
from tests.web.test_broken_requests import answer_to
from web.request_ids import id_of, traceparent_of

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NEW = re.compile(r"req_[0-9a-f]{24}")


@pytest.mark.parametrize("given", ["a", "5f2e-77", "req_1/2:3@x=y+z.W", "x" * 128])
def test_id_of_the_caller(given: str) -> None:
    """An id of harmless characters is the caller's."""
    assert id_of(given) == given


@pytest.mark.parametrize(
    "given",
    [None, "", "x" * 129, "a b", "a\nb", "a\r\nSet-Cookie: x", 'a","event":"x', "é", "\x1b[31m", "a\x00"],
    ids=["none", "empty", "long", "space", "newline", "header", "json", "latin", "escape", "null"],
)
def test_id_that_could_disturb(given: str | None) -> None:
    """Any other id is replaced by a new one, so that none can add a header or a log line."""
    made = id_of(given)
    assert NEW.fullmatch(made)
    assert id_of(given) != made


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (TRACE, TRACE),
        ("cc" + TRACE[2:] + "-what-is-new", TRACE),
        (TRACE + "-more", ""),
        ("ff" + TRACE[2:], ""),
        (TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), ""),
        (TRACE.replace("b7ad6b7169203331", "0" * 16), ""),
        (TRACE.upper(), ""),
        ("", ""),
        (None, ""),
        ("00-x", ""),
    ],
    ids=range(10),
)
def test_traceparent(given: str | None, kept: str) -> None:
    """A valid ``traceparent`` is kept as version 00; a later version may say more, which is left out."""
    assert traceparent_of(given) == kept


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/jobs", 200),
        ("POST", "/jobs", 415),
        ("GET", "/jobs/nothing", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/jobs", 405),
        ("GET", "/v1/models", 200),
        ("POST", "/v1/responses", 415),
        ("POST", "/v1/messages", 415),
        ("OPTIONS", "/jobs", 200),
        ("HEAD", "/livez", 200),
        ("GET", "/ws", 426),
    ],
)
def test_answers_name_the_request(alice: httpx.Client, method: str, path: str, status: int) -> None:
    """Every answer has the caller's id and the version of the server, errors too."""
    answer = alice.request(method, path, headers={"X-Request-Id": "r-77"})
    assert answer.status_code == status
    assert answer.headers.get_list("X-Request-Id") == ["r-77"]
    assert answer.headers["Spool-Version"] == spool.__version__
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_answers_without_a_given_id(alice: httpx.Client, guarded: Stack) -> None:
    """A request without an id gets a new one, also if it has no credential or is no HTTP; so does an unsafe id."""
    assert NEW.fullmatch(alice.get("/livez").headers["X-Request-Id"])
    assert NEW.fullmatch(httpx.get(f"{guarded.webs[0].url}/jobs", verify=False).headers["X-Request-Id"])
    assert NEW.fullmatch(alice.get("/livez", headers={"X-Request-Id": "a b"}).headers["X-Request-Id"])
    broken = answer_to(guarded, "GET jobs HTTP/1.1\r\nHost: x\r\n\r\n")
    assert re.search(rb"X-Request-Id: req_[0-9a-f]{24}\r\n", broken)


def test_body_with_a_handshake(guarded: Stack) -> None:
    """The server's own refusals name the request, too."""
    head = (
        f"GET /ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ALICE}\r\nUpgrade: websocket\r\nX-Request-Id: r-78\r\n"
    )
    answer = answer_to(guarded, head + "Content-Length: 99999999\r\n\r\n")
    assert b"X-Request-Id: r-78\r\n" in answer, answer


def test_handshake_names_the_request(guarded: Stack) -> None:
    """The answer to a WebSocket's handshake has both headers."""
    with connected(guarded, X_Request_Id="r-79") as client:
        assert client.status == 101
        assert b"\r\nX-Request-Id: r-79\r\n" in client.head
        assert b"\r\nSpool-Version: " in client.head


def lines_of(stack: Stack, request_id: str) -> Iterator[dict[str, object]]:
    """The log lines of all processes that contain this id."""
    for process in [*stack.webs, *stack.workers]:
        for line in process.output.read_text(errors="replace").splitlines():
            if request_id in line:
                yield json.loads(line)


def test_life_of_a_job(stack: Stack) -> None:
    """A search for the request's id finds the job's life in the order of its times, and the id is in its record; no
    line has the prompt or the text."""
    request_id, prompt = "life-of-a-job", "a secret about herons"
    job: str = (
        stack.client()
        .post(
            "/jobs",
            json={"prompt": prompt, "params": {"tokens": 3}},
            headers={"X-Request-Id": request_id, "traceparent": TRACE},
        )
        .json()["id"]
    )
    names = ["job_submitted", "request", "job_claimed", "job_first_token", "job_ended"]
    wait_for(lambda: len(list(lines_of(stack, request_id))) >= len(names), "the job has ended and said so")
    lines = sorted(lines_of(stack, request_id), key=lambda line: str(line["timestamp"]))
    assert sorted(str(line["event"]) for line in lines) == sorted(names)
    assert [line["event"] for line in lines if line["event"] not in ("request", "job_submitted")] == names[2:]
    assert {line["job"] for line in lines if line["event"] != "request"} == {job}
    assert lines[-1]["status"] == "succeeded"
    assert lines[-1]["output_tokens"] == 3
    record = stack.redis.link.call("HMGET", f"spool:{{0}}:job:{job}", "request_id", "traceparent")
    assert record == [request_id.encode(), TRACE.encode()]
    assert not any("herons" in process.output.read_text() for process in [*stack.webs, *stack.workers])
