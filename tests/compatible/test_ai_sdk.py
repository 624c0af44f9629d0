"""``/ai/chat``, over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest

from tests.compatible.chats import asked, begun, chunks_of, text_of
from tests.stack import Stack, running_stack, wait_for
from tests.web.problem_shape import assert_problem

FAST = {"rate": 0}
SLOW = {"tokens": 60, "rate": 40}
ENDLESS = {"tokens": 5000, "rate": 40}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def chat() -> str:
    """The id of a chat of this test's own."""
    return f"chat/{token_hex(6)}"


def test_stream(stack: Stack, chat: str) -> None:
    """The chunks come in the protocol's order under its header, add up to the job's text, and name the job."""
    answer = stack.client(0).post("/ai/chat", json=asked(chat, FAST))
    chunks, job = chunks_of(answer.text), answer.headers["X-Spool-Job"]
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Location"] == f"/jobs/{job}"
    kinds = [chunk["type"] for chunk in chunks]
    assert kinds[:3] == ["start", "start-step", "text-start"]
    assert kinds[-4:] == ["data-usage", "text-end", "finish-step", "finish"]
    assert chunks[0]["messageId"] == f"msg_{job}"
    kept = stack.client(1).get(f"/jobs/{job}").json()
    assert text_of(chunks) == kept["text"]
    assert kept["status"] == "succeeded"


def test_heartbeats_are_comments(stack: Stack, chat: str) -> None:
    """In silence there are comments."""
    text = stack.client(0).post("/ai/chat", json=asked(chat, {"first_token_s": 2.5, "tokens": 1})).text
    assert ": ping\n\n" in text
    assert chunks_of(text)[-1]["type"] == "finish"


def test_resume(stack: Stack, chat: str) -> None:
    """It is streamed as a whole by any web, while it runs and just after its end; before, nothing is."""
    here, there = stack.client(0), stack.client(1)
    path = f"/ai/chat/{quote(chat, safe='')}/stream"
    assert here.get(path).status_code == 204
    job = begun(here, asked(chat, SLOW))
    first, second = (client.get(path) for client in (there, here))
    assert first.headers["X-Spool-Job"] == second.headers["X-Spool-Job"] == job
    for answer in (first, second):
        assert text_of(chunks_of(answer.text)) == there.get(f"/jobs/{job}").json()["text"]
    assert here.get("/ai/chat/another/stream").status_code == 204


def test_resume_of_what_the_client_has(stack: Stack, chat: str) -> None:
    """An answer that the client has to its end is streamed while it runs, and not after; a name of another answer
    changes nothing."""
    client, path = stack.client(0), f"/ai/chat/{chat}/stream"
    job = begun(client, asked(chat, {"tokens": 20, "rate": 40}))
    running = client.get(path, params={"has": f"msg_{job}"})
    assert chunks_of(running.text)[-1]["type"] == "finish"
    answers = [client.get(path, params={"has": name}) for name in (f"msg_{job}", job, "msg_other", "")]
    assert [answer.status_code for answer in answers] == [204, 204, 200, 200]
    assert client.delete(f"/jobs/{job}").status_code == 204
    assert client.get(path).status_code == 204
    assert_problem(client.get(path, params={"has": "x" * 201}), 422)


def test_resume_of_a_continued_message(stack: Stack, chat: str) -> None:
    """An answer that continues a message is streamed to a client that names the message, which it had before."""
    client = stack.client(0)
    output = {"type": "tool-get_weather", "toolCallId": "c1", "state": "output-available", "input": {}, "output": 18}
    body = asked(chat, FAST)
    body["messages"].append({"id": "a1", "role": "assistant", "parts": [output]})
    chunks = chunks_of(client.post("/ai/chat", json=body).text)
    assert chunks[0]["messageId"] == "a1"
    again = client.get(f"/ai/chat/{chat}/stream", params={"has": "a1"})
    assert text_of(chunks_of(again.text)) == text_of(chunks)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"streamId":"JOB"}',
        b'{"messageId":"msg_JOB"}',
        b'{"activeStreamId":null,"assistantMessage":{"id":"msg_JOB","role":"assistant","parts":[]}}',
    ],
)
def test_stop(stack: Stack, chat: str, body: bytes) -> None:
    """A stop at any web ends the newest answer for all, whether the body names it or nothing."""
    job = begun(stack.client(0), asked(chat, ENDLESS))
    answer = stack.client(1).post(f"/ai/chat/{chat}/stop", content=body.replace(b"JOB", job.encode()), headers=JSON)
    assert answer.json() == {"success": True}
    ended = wait_for(lambda: stack.client(0).get(f"/jobs/{job}").json()["ended_at"], "it ends")
    assert ended
    assert stack.client(0).get(f"/jobs/{job}").json()["status"] == "cancelled"
    assert chunks_of(stack.client(0).get(f"/ai/chat/{chat}/stream").text)[-1] == {"type": "abort"}


@pytest.mark.parametrize("name", ["JOB", "msg_JOB"])
def test_stop_of_an_older_answer(stack: Stack, chat: str, name: str) -> None:
    """A stop that names an older answer stops that one, and no other."""
    client = stack.client(0)
    older, newer = (begun(client, asked(chat, ENDLESS, trigger="regenerate-message")) for _ in range(2))
    client.post(f"/ai/chat/{chat}/stop", json={"streamId": name.replace("JOB", older)})
    ended = wait_for(lambda: client.get(f"/jobs/{older}").json()["ended_at"], "it ends")
    assert ended
    assert client.get(f"/jobs/{newer}").json()["cancel_requested_at"] is None
    client.post(f"/jobs/{newer}/cancel")


def test_stop_of_what_is_no_answer(stack: Stack, chat: str) -> None:
    """A stop of an unknown chat, of an unknown name, or of a job of another surface stops nothing."""
    client = stack.client(0)
    running = begun(client, asked(chat, ENDLESS))
    other = client.post("/jobs", json={"prompt": "x", "params": ENDLESS}).json()["id"]
    for path, named in (("nobody", {}), (chat, {"streamId": "j0-" + "0" * 26}), (chat, {"streamId": other})):
        assert client.post(f"/ai/chat/{path}/stop", json=named).json() == {"success": True}
    for job in (running, other):
        assert client.get(f"/jobs/{job}").json()["cancel_requested_at"] is None
        client.post(f"/jobs/{job}/cancel")


def test_same_request_while_it_runs(stack: Stack, chat: str) -> None:
    """The same messages again are the same answer from its start while that runs, and another one after its end."""
    client, body = stack.client(0), asked(chat, ENDLESS)
    job = begun(client, body)
    with stack.client(1).stream("POST", "/ai/chat", json=body) as again:
        assert (again.headers["X-Spool-Job"], again.headers["Idempotent-Replayed"]) == (job, "true")
        client.post(f"/jobs/{job}/cancel")
        chunks = chunks_of(again.read().decode())
    assert text_of(chunks) == client.get(f"/jobs/{job}").json()["text"]
    other = begun(client, body)
    assert other != job
    client.post(f"/jobs/{other}/cancel")


def test_idempotency_key(stack: Stack, chat: str) -> None:
    """The same key and body are the same answer, streamed again; another body is refused."""
    client, headers = stack.client(0), {"Idempotency-Key": chat}
    first, second = (client.post("/ai/chat", json=asked(chat, FAST), headers=headers) for _ in range(2))
    assert first.text == second.text
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert_problem(client.post("/ai/chat", json=asked(chat, SLOW), headers=headers), 422)


def test_system_and_extras(stack: Stack, chat: str) -> None:
    """``metadata`` is the job's; what an application sends along beside what is known reaches nobody."""
    more = {"system": "Be brief.", "metadata": {"tab": "7"}, "webSearch": True, "tokens": -1, "messageId": None}
    answer = stack.client(0).post("/ai/chat", json=asked(chat, FAST, **more))
    job = stack.client(0).get(f"/jobs/{answer.headers['X-Spool-Job']}").json()
    assert (job["status"], job["metadata"]) == ("succeeded", {"tab": "7"})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "/x"}, "id"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "parts": []}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "parts": [{"type": "text"}]}]}, "messages[0].parts[0]"),
        ({"messages": [{"role": "user", "parts": []}]}, "messages"),
        ({"trigger": "resume-stream"}, "trigger"),
        ({"model": "nothing"}, "model"),
        ({"params": {"tokens": -1}}, "params.tokens"),
        ({"tools": {"a": 1}}, "tools"),
        ({"metadata": {"a": 1}}, "metadata.a"),
    ],
)
def test_what_is_refused(stack: Stack, chat: str, change: dict[str, Any], field: str) -> None:
    """What is wrong is named by its path, and nothing is begun."""
    problem = assert_problem(stack.client(0).post("/ai/chat", json={**asked(chat, FAST), **change}), 422)
    assert problem["errors"][0]["field"] == field
    assert stack.client(0).get(f"/ai/chat/{chat}/stream").status_code == 204


@pytest.mark.parametrize("body", [b"[]", b"{", b'"x"'])
def test_body_that_is_no_object(stack: Stack, chat: str, body: bytes) -> None:
    """Whatever comes is refused as a problem."""
    for path in ("/ai/chat", f"/ai/chat/{chat}/stop"):
        assert_problem(stack.client(0).post(path, content=body, headers=JSON), 422)


def test_body_that_is_nested_too_deeply(stack: Stack, chat: str) -> None:
    """What can be read but not be written again is refused as a problem."""
    body = orjson.dumps(asked(chat, FAST))[:-1] + b',"data":' + b"[" * 300 + b"]" * 300 + b"}"
    problem = assert_problem(stack.client(0).post("/ai/chat", content=body, headers=JSON), 422)
    assert "nested" in problem["detail"]


@pytest.mark.slow
def test_web_leaves_in_the_middle(directory: Path, chat: str) -> None:
    """A web that goes away, told to or killed, breaks the connection and says no end; another one has it all."""
    with running_stack(directory, webs=3, workers=1) as stack:
        client = stack.client(0)
        with client.stream("POST", "/ai/chat", json=asked(chat, {"tokens": 200, "rate": 40})) as answer:
            job, lines = answer.headers["X-Spool-Job"], answer.iter_lines()
            assert next(lines)
            stack.webs[0].stop()
            with pytest.raises(httpx.RemoteProtocolError):
                rest_of(lines)
        with stack.client(1).stream("GET", f"/ai/chat/{chat}/stream") as answer:
            lines = answer.iter_lines()
            assert next(lines)
            stack.webs[1].kill()
            with pytest.raises(httpx.HTTPError):
                rest_of(lines)
        whole = stack.client(2).get(f"/ai/chat/{chat}/stream")
        assert text_of(chunks_of(whole.text)) == stack.client(2).get(f"/jobs/{job}").json()["text"]


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["web", "worker"])
def test_death_near_the_end(directory: Path, chat: str, dies: str) -> None:
    """A client that lost its web near the end, or whose answer failed with its worker, gets all of it after the end, as
    every entry of the log has it."""
    with running_stack(directory, webs=2, workers=1) as stack:
        client, body = stack.client(0), asked(chat, {"tokens": 80, "rate": 40})
        with client.stream("POST", "/ai/chat", json=body) as answer:
            job, lines = answer.headers["X-Spool-Job"], answer.iter_lines()
            wait_for(lambda: stack.client(1).get(f"/jobs/{job}").json()["last_entry"] > 60, "most of it is there")
            if dies == "web":
                stack.webs[0].kill()
                with pytest.raises(httpx.HTTPError):
                    rest_of(lines)
            else:
                stack.workers[0].kill()
                stack.workers[0].start()
        assert wait_for(lambda: stack.client(1).get(f"/jobs/{job}").json()["ended_at"], "it ends")
        kept = stack.client(1).get(f"/jobs/{job}").json()
        chunks = chunks_of(stack.client(1).get(f"/ai/chat/{chat}/stream").text)
        assert text_of(chunks) == kept["text"]
        assert chunks[-1]["type"] == ("finish" if kept["status"] == "succeeded" else "error")


def rest_of(lines: Iterator[str]) -> None:
    """Read to the end, which is none that the stream itself says."""
    for line in lines:
        assert "DONE" not in line
        assert "error" not in line
