"""Signed links to jobs and batches."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import websocket

from tests.by_hand import HandWorker
from tests.stack import Stack
from tests.web.conftest import ADMIN
from tests.web.problem_shape import assert_problem

EVIL = {"Origin": "https://elsewhere.example"}


@pytest.fixture(scope="module")
def nobody(guarded: Stack) -> httpx.Client:
    """A client without a key, as a page of another origin."""
    return guarded.client(headers=EVIL)


def submitted(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    """A job that waits."""
    document: dict[str, Any] = client.post("/jobs", json={"prompt": "x", **fields}).json()
    return document


def test_links_of_a_submit_lead_to_the_job(guarded: Stack, alice: httpx.Client, nobody: httpx.Client) -> None:
    """A page of any origin reads entries, stream and socket by link alone, and may read the answers."""
    links = submitted(alice, links=True)["links"]
    response = nobody.get(links["entries"] + "&wait=0")
    assert response.json()["entries"] == []
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    with nobody.stream("GET", links["stream"], headers={"Accept": "text/event-stream"}) as stream:
        assert stream.headers["Access-Control-Allow-Origin"] == "*"
        assert b"attached" in next(stream.iter_bytes())
    url = guarded.webs[0].url.replace("http", "ws") + links["ws"]
    socket = websocket.create_connection(url, origin=EVIL["Origin"], timeout=10)
    socket.send('{"type":"cancel"}')
    opcode, frame = socket.recv_data()
    assert (opcode, int.from_bytes(frame[:2], "big")) == (websocket.ABNF.OPCODE_CLOSE, 1008)
    socket.shutdown()


def test_link_is_for_one_call_of_one_job(alice: httpx.Client, nobody: httpx.Client) -> None:
    """Replayed on another call, another job or another method, it is refused, whoever owns the other job."""
    links, other = submitted(alice, links=True)["links"], submitted(alice)
    query = links["stream"].partition("?")[2]
    job = links["stream"].split("/")[2]
    for method, path in [
        ("GET", f"/jobs/{other['id']}/stream"),
        ("GET", f"/jobs/{job}/entries"),
        ("GET", f"/jobs/{job}"),
        ("POST", f"/jobs/{job}/cancel"),
        ("DELETE", f"/jobs/{job}"),
        ("POST", f"/jobs/{job}/links"),
        ("POST", "/tokens"),
        ("GET", "/jobs"),
        ("GET", "/models"),
        ("GET", "/v1/models"),
    ]:
        assert_problem_or_error(nobody.request(method, f"{path}?{query}"), 403)


def assert_problem_or_error(response: httpx.Response, status: int) -> None:
    """The status, in the shape of its surface."""
    assert response.status_code == status, (response.request.url.path, response.text)


def test_link_to_cancel_is_made_when_asked(alice: httpx.Client, nobody: httpx.Client) -> None:
    """It cancels its job and reads nothing."""
    job = submitted(alice)["id"]
    links = alice.post(f"/jobs/{job}/links", json={"scope": ["cancel"], "ttl_s": 60}).json()
    assert set(links) == {"cancel", "expires_at"}
    assert_problem(nobody.get(links["cancel"].replace("/cancel?", "/entries?")), 403)
    for _ in range(2):
        cancelled = nobody.post(links["cancel"]).json()
        assert cancelled["status"] == "cancelled"
        assert "text" not in cancelled
    assert alice.post(f"/jobs/{job}/cancel").json()["text"] == ""


@pytest.mark.parametrize("change", ["forged", "cut", "empty", "other kind"])
def test_link_that_is_not_valid(alice: httpx.Client, nobody: httpx.Client, change: str) -> None:
    """401, and nothing of it in the answer."""
    path, _, text = submitted(alice, links=True)["links"]["entries"].partition("?link=")
    token = alice.post("/tokens", json={"scope": {"job": path.split("/")[2]}}).json()["token"]
    shown = {"forged": "A" + text[1:], "cut": text[:-3], "empty": "x", "other kind": token}[change]
    response = nobody.get(path, params={"link": shown})
    assert_problem(response, 401)
    assert shown not in response.text or len(shown) == 1


def test_link_ends_with_its_key_but_not_its_stream(guarded: Stack, nobody: httpx.Client, worker: HandWorker) -> None:
    """A stream that began goes on to the job's end; a new one is refused."""
    with guarded.client(headers={"Authorization": f"Bearer {ADMIN}"}) as admin:
        key = admin.post("/admin/keys", json={"owner": "alice"}).json()
        with guarded.client(headers={"Authorization": f"Bearer {key['key']}"}) as client:
            job = submitted(client, links=True)
        other = admin.post("/admin/keys", json={"owner": "alice"}).json()
        stream_link, entries_link = job["links"]["stream"], job["links"]["entries"]
        with nobody.stream("GET", stream_link, headers={"Accept": "text/event-stream"}) as stream:
            pieces = stream.iter_bytes()
            assert b"attached" in next(pieces)
            # Both keys are known to have ended once the second one is refused.
            admin.post(f"/admin/keys/{key['id']}/revoke")
            admin.post(f"/admin/keys/{other['id']}/revoke")
            wait_until_refused(nobody, entries_link)
            claim = worker.take_job(job["id"])
            worker.say(claim, "text")
            worker.finish(claim)
            assert b"event: done" in b"".join(pieces)
    assert_problem(nobody.get(stream_link, headers={"Accept": "application/x-ndjson"}), 401)


def wait_until_refused(nobody: httpx.Client, path: str) -> None:
    """The web has noticed the revocation."""
    from tests.stack import wait_for

    wait_for(lambda: nobody.get(f"{path}&wait=0").status_code == 401, "the revocation is known", within_s=5)


def test_links_of_a_batch(alice: httpx.Client, nobody: httpx.Client) -> None:
    """They show the batch and its results, and no other batch."""
    batch, other = (alice.post("/batches", json=[{"prompt": "x"}]).json()["id"] for _ in range(2))
    links = alice.post(f"/batches/{batch}/links").json()
    assert nobody.get(links["batch"]).json()["id"] == batch
    assert nobody.get(links["results"]).status_code == 200
    assert_problem(nobody.get(links["batch"].replace(batch, other)), 403)
    assert_problem(nobody.get(links["results"].replace("/results", "")), 403)


def test_links_need_an_own_job(alice: httpx.Client, bob: httpx.Client) -> None:
    """Nobody makes a link to another owner's job or batch."""
    job = submitted(alice)["id"]
    batch = alice.post("/batches", json=[{"prompt": "x"}]).json()["id"]
    assert_problem(bob.post(f"/jobs/{job}/links"), 404)
    assert_problem(bob.post(f"/batches/{batch}/links"), 404)


@pytest.mark.parametrize(
    "body", [{"ttl_s": 0}, {"ttl_s": 10**9}, {"scope": []}, {"scope": ["delete"]}, {"to": 1}], ids=range(5)
)
def test_wrong_links_are_refused(alice: httpx.Client, body: dict[str, Any]) -> None:
    """422 names the field."""
    assert_problem(alice.post(f"/jobs/{submitted(alice)['id']}/links", json=body), 422)


def test_links_of_a_streamed_submit_are_refused(alice: httpx.Client) -> None:
    """Also in a batch: neither answer has a place for them."""
    body = {"prompt": "x", "links": True}
    assert_problem(alice.post("/jobs", json=body, headers={"Accept": "text/event-stream"}), 422)
    assert_problem(alice.post("/batches", json=[body]), 422)
