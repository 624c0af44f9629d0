"""Switches over the admin API, and the answers of a web that obeys them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from spool.instance import web_instance
from tests.stack import Stack, wait_for
from tests.web.conftest import ADMIN
from tests.web.problem_shape import assert_problem

SSE = {"Accept": "text/event-stream"}
SUBMIT = {"prompt": "x"}
_ON = {
    "stop-submits/class:batch": {"reason": "maintenance"},
    "stop-submits/owner:bob": {},
    "pause/model:demo": {"reason": "moved"},
    "transport-off/ndjson": {},
    "transport-off/websocket": {},
    "transport-off/long-polling": {},
    "max-streams/all": {"value": 1},
}


@pytest.fixture(scope="module")
def admin(guarded: Stack) -> httpx.Client:
    """A client with the scope ``admin``."""
    return guarded.client(headers={"Authorization": f"Bearer {ADMIN}"})


def kinds(client: httpx.Client) -> list[str]:
    """The kinds of switches that the web obeys."""
    found: list[str] = client.get("/readyz").json()["switches"]
    return found


@pytest.fixture(scope="module")
def before(guarded: Stack, admin: httpx.Client) -> Iterator[httpx.Response]:
    """All of ``_ON``, in force; a submit of bob's from before that."""
    with guarded.client(headers={"Authorization": "Bearer bob-secret-9876543210"}) as bob:
        earlier = bob.post("/jobs", json=SUBMIT, headers={"Idempotency-Key": "before"})
        for path, body in _ON.items():
            turned = admin.put(f"/admin/switches/{path}", json=body)
            assert turned.status_code == 200, turned.text
        wait_for(lambda: len(kinds(admin)) == 4, "the web obeys")
        yield earlier
        for path in _ON:
            assert admin.delete(f"/admin/switches/{path}").status_code == 204
        wait_for(lambda: not kinds(admin), "the web obeys no switch")


def test_stopped_submits(before: httpx.Response, alice: httpx.Client, bob: httpx.Client) -> None:
    """Submits of the class and the owner get 503 with the reason and a time, others are accepted, and one that is sent
    again gets its own job."""
    refused = alice.post("/jobs", json={**SUBMIT, "priority": "batch"})
    problem = assert_problem(refused, 503)
    assert (problem["title"], refused.headers["Retry-After"]) == ("Submits stopped", "30")
    assert problem["detail"] == "jobs of the priority 'batch' are not accepted at the moment: maintenance; retry later"
    assert_problem(alice.post("/batches", json=[SUBMIT]), 503)
    assert "your jobs" in assert_problem(bob.post("/jobs", json=SUBMIT), 503)["detail"]
    assert alice.post("/jobs", json=SUBMIT).status_code == 202
    again = bob.post("/jobs", json=SUBMIT, headers={"Idempotency-Key": "before"})
    assert again.json()["id"] == before.json()["id"]


@pytest.mark.usefixtures("before")
def test_paused_model(alice: httpx.Client) -> None:
    """Its jobs say why they wait, and the list of models says since when."""
    job = alice.post("/jobs", json=SUBMIT).json()
    assert job["waiting_for"] == {"reason": "paused"}
    shown = alice.get("/models").json()["models"][0]
    assert (shown["paused"]["reason"], shown["submits_stopped"]) == ("moved", None)


@pytest.mark.usefixtures("before")
def test_transport_that_is_off(alice: httpx.Client) -> None:
    """Nothing begins over it, before a job is written; the others go on."""
    ndjson = {"Accept": "application/x-ndjson"}
    job = alice.post("/jobs", json=SUBMIT).json()["id"]
    count = len(alice.get("/jobs").json()["jobs"])
    problem = assert_problem(alice.post("/jobs", json=SUBMIT, headers=ndjson), 503)
    assert problem["title"] == "Transport off"
    assert len(alice.get("/jobs").json()["jobs"]) == count
    assert_problem(alice.get(f"/jobs/{job}/stream", headers=ndjson), 503)
    assert_problem(alice.get(f"/jobs/{job}/entries"), 503)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "MDEyMzQ1Njc4OWFiY2RlZg=="
    assert_problem(alice.get(f"/jobs/{job}/ws", headers=upgrade), 503)
    assert alice.get(f"/jobs/{job}/entries?wait=0").status_code == 200
    with alice.stream("GET", f"/jobs/{job}/stream", headers=SSE) as stream:
        assert next(stream.iter_lines()).startswith("retry")


@pytest.mark.usefixtures("before")
def test_cap_on_streams(alice: httpx.Client) -> None:
    """Beyond it a stream is told to come back."""
    job = alice.post("/jobs", json=SUBMIT).json()["id"]
    with ExitStack() as opened:
        first = opened.enter_context(alice.stream("GET", f"/jobs/{job}/stream", headers=SSE))
        lines = first.iter_lines()
        assert next(lines).startswith("retry")
        second = opened.enter_context(alice.stream("GET", f"/jobs/{job}/stream", headers=SSE))
        assert "event: unavailable" in list(second.iter_lines())


def test_drained_web(guarded: Stack, admin: httpx.Client, alice: httpx.Client) -> None:
    """It is not ready, its streams are asked to reconnect, and none begins; submits and polls go on. Once the switch is
    taken back, it is ready and streams stay."""
    job = alice.post("/jobs", json=SUBMIT).json()["id"]
    instance = web_instance(int(guarded.webs[0].url.rpartition(":")[2]))
    with alice.stream("GET", f"/jobs/{job}/stream", headers=SSE) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry")
        assert admin.put(f"/admin/switches/drain/{instance}", json={}).status_code == 200
        assert "event: reconnect" in list(lines)
    assert_problem(admin.get("/readyz"), 503)
    with alice.stream("GET", f"/jobs/{job}/stream", headers=SSE) as stream:
        assert "event: unavailable" in list(stream.iter_lines())
    assert alice.post("/jobs", json=SUBMIT).status_code == 202
    assert admin.delete(f"/admin/switches/drain/{instance}").status_code == 204
    wait_for(lambda: admin.get("/readyz").status_code == 200, "it is ready again")
    with alice.stream("GET", f"/jobs/{job}/stream", headers=SSE) as stream:
        assert "event: unavailable" not in next(stream.iter_lines())


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "stop/all", {}, 422),
        ("PUT", "pause/owner:a", {}, 422),
        ("PUT", "pause/all", {"reason": "x" * 501}, 422),
        ("PUT", "pause/all", {"why": "x"}, 422),
        ("DELETE", "pause/model:no/such", None, 404),
        ("DELETE", "stop/all", None, 422),
    ],
    ids=["kind", "target", "reason", "field", "off", "off-kind"],
)
def test_wrong_switch_is_refused(
    admin: httpx.Client, method: str, path: str, body: dict[str, str] | None, status: int
) -> None:
    """The problem names what is wrong, and nothing is turned on."""
    assert_problem(admin.request(method, f"/admin/switches/{path}", json=body), status)


def test_switches_need_the_scope(alice: httpx.Client) -> None:
    """A key without ``admin`` neither sees nor turns any."""
    for method, path in [("GET", ""), ("PUT", "/pause/all"), ("DELETE", "/pause/all")]:
        assert_problem(alice.request(method, f"/admin/switches{path}", json={}), 403)
