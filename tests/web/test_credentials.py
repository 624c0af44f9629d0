"""Who may call: keys, origins, hosts; and that no key shows up anywhere."""

from __future__ import annotations

import httpx
import pytest
import websocket

from tests.loopback import NO_CERTIFICATES
from tests.stack import Stack
from tests.web.conftest import ALICE, BOB
from tests.web.problem_shape import assert_problem, stored

JOB = "j0-" + "0" * 26
BATCH = "b0-" + "0" * 26
GUARDED = [
    ("POST", "/jobs"),
    ("GET", "/jobs"),
    ("GET", f"/jobs/{JOB}"),
    ("DELETE", f"/jobs/{JOB}"),
    ("POST", f"/jobs/{JOB}/cancel"),
    ("GET", f"/jobs/{JOB}/entries"),
    ("GET", f"/jobs/{JOB}/stream"),
    ("POST", "/batches"),
    ("GET", f"/batches/{BATCH}"),
    ("GET", f"/batches/{BATCH}/results"),
    ("POST", f"/batches/{BATCH}/cancel"),
    ("GET", "/models"),
    ("GET", "/metrics"),
]
PUBLIC = ["/livez", "/readyz", "/version", "/openapi.json", "/docs"]
WRONG = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong-secret-0123456789",
    f"Bearer {ALICE}x",
    f"Bearer {ALICE[:-1]}",
    f"Bearer {ALICE},{BOB}",
    f"Basic {ALICE}",
    ALICE,
    "Bearer \xe4\xf6\xfc",
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_no_key(guarded: Stack, method: str, path: str) -> None:
    """Without a key, nothing but what is public is answered."""
    before = stored(guarded.redis.link)
    response = httpx.request(
        method, guarded.webs[0].url + path, json={"prompt": "x"} if method == "POST" else None, verify=NO_CERTIFICATES
    )
    assert_problem(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert stored(guarded.redis.link) == before


@pytest.mark.parametrize("shown", WRONG, ids=range(len(WRONG)))
def test_wrong_key(guarded: Stack, shown: str | None) -> None:
    """A key that is wrong, or shown in another way, is none."""
    headers = {} if shown is None else {b"Authorization": shown.encode("latin-1").strip()}
    response = httpx.get(f"{guarded.webs[0].url}/jobs", headers=headers, verify=NO_CERTIFICATES)
    assert_problem(response, 401)


@pytest.mark.parametrize("shown", [f"Bearer {ALICE}", f"bearer {ALICE}", f"BEARER  {ALICE}"])
def test_right_key(guarded: Stack, shown: str) -> None:
    """The scheme's name has no case."""
    assert (
        httpx.get(f"{guarded.webs[0].url}/jobs", headers={"Authorization": shown}, verify=NO_CERTIFICATES).status_code
        == 200
    )


@pytest.mark.parametrize("path", PUBLIC)
def test_public_without_a_key(guarded: Stack, path: str) -> None:
    """What is public needs no key."""
    assert httpx.get(guarded.webs[0].url + path, verify=NO_CERTIFICATES).status_code == 200


@pytest.mark.parametrize("path", ["/ws", f"/jobs/{JOB}/ws", "/v1/responses"])
def test_websocket_without_a_key(guarded: Stack, path: str) -> None:
    """A WebSocket without a key is refused before the upgrade."""
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(guarded.webs[0].url.replace("http://", "ws://") + path, timeout=10)
    assert caught.value.status_code == 401


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1.evil.example", "x"]
)
def test_websocket_from_another_origin(guarded: Stack, origin: str) -> None:
    """A page from elsewhere is refused before the upgrade."""
    header = {"Authorization": f"Bearer {ALICE}"}
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        websocket.create_connection(
            guarded.webs[0].url.replace("http://", "ws://") + "/ws", header=header, origin=origin, timeout=10
        )
    assert caught.value.status_code == 403


def test_websocket_from_its_own_origin(guarded: Stack) -> None:
    """The page that this server itself serves may connect."""
    url = guarded.webs[0].url
    socket = websocket.create_connection(
        url.replace("http://", "ws://") + "/ws", header={"Authorization": f"Bearer {ALICE}"}, origin=url, timeout=10
    )
    socket.shutdown()


def test_owners_see_their_own_jobs_alone(alice: httpx.Client, bob: httpx.Client) -> None:
    """A list holds the caller's jobs and nobody else's."""
    mine = alice.post("/jobs", json={"prompt": "x"}).json()
    theirs = bob.post("/jobs", json={"prompt": "x"}).json()
    assert (mine["owner"], theirs["owner"]) == ("alice", "bob")
    seen = {job["id"] for job in alice.get("/jobs").json()["jobs"]}
    assert mine["id"] in seen
    assert theirs["id"] not in seen


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]", "a b", ""])
def test_host_that_is_not_ours(open_web: Stack, host: str) -> None:
    """Where nobody needs a key, a page elsewhere cannot reach us under a name of its own."""
    for path in ("/jobs", "/livez", "/"):
        response = httpx.get(open_web.webs[0].url + path, headers={"Host": host}, verify=NO_CERTIFICATES)
        assert 400 <= response.status_code < 500


def test_key_where_none_is_needed(open_web: Stack) -> None:
    """Without keys, any that is shown is ignored, and everybody is the same owner."""
    with open_web.client(headers={"Authorization": "Bearer anything at all"}) as client:
        assert client.post("/jobs", json={"prompt": "x"}).json()["owner"] == "anonymous"


def test_pages_from_elsewhere_may_not_read(alice: httpx.Client) -> None:
    """Without allowed origins, no answer carries leave for another origin to read it."""
    response = alice.get("/jobs", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in response.headers


def test_no_key_shows_anywhere(guarded: Stack) -> None:
    """No key is in any answer, in Redis, or in what the programs print, not even a wrong one."""
    wrong = "wrong-secret-that-somebody-mistyped"
    answers: list[httpx.Response] = []
    for method, path in [*GUARDED, *(("GET", path) for path in PUBLIC), ("GET", "/nowhere"), ("PUT", "/jobs")]:
        for secret in (ALICE, wrong):
            headers = {"Authorization": f"Bearer {secret}"}
            answers.append(httpx.request(method, guarded.webs[0].url + path, headers=headers, verify=NO_CERTIFICATES))
    for answer in answers:
        shown = answer.text + str(answer.headers)
        assert not any(secret in shown for secret in (ALICE, BOB, wrong))
    printed = guarded.webs[0].output.read_text()
    kept = str(stored(guarded.redis.link))
    assert not any(secret in printed + kept for secret in (ALICE, BOB, wrong))
