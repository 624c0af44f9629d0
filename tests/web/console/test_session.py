"""The console's session."""

from __future__ import annotations

import httpx
import pytest
import websocket

from tests.loopback import NO_CERTIFICATES
from tests.stack import Stack, wait_for
from tests.web.conftest import ADMIN, ALICE
from tests.web.problem_shape import assert_problem


@pytest.fixture
def page(guarded: Stack) -> httpx.Client:
    """The page of this server, without a session yet."""
    return guarded.client(headers={"Origin": guarded.webs[0].url})


def test_session_stands_for_its_key(page: httpx.Client) -> None:
    """The cookie is out of reach of scripts and other sites, and every call works with it until the logout."""
    assert page.get("/session").json() == {
        "required": True,
        "owner": None,
        "kind": None,
        "scopes": [],
        "expires_at": None,
        "local_demo": False,
    }
    response = page.post("/session", json={"key": ALICE})
    assert response.json()["owner"] == "alice"
    flags = {part.strip() for part in response.headers["Set-Cookie"].split(";")[1:]}
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= flags
    assert ALICE not in response.headers["Set-Cookie"]
    assert page.post("/jobs", json={"prompt": "x"}).json()["owner"] == "alice"
    assert page.get("/session").json()["kind"] == "session"
    assert page.delete("/session").status_code == 204
    assert_problem(page.get("/jobs"), 401)


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_session_is_not_for_other_sites(guarded: Stack, headers: dict[str, str]) -> None:
    """No login from another site, and no change or socket by its pages, were the cookie ever sent along."""
    url = guarded.webs[0].url
    assert_problem(httpx.post(f"{url}/session", json={"key": ALICE}, headers=headers, verify=NO_CERTIFICATES), 403)
    cookie = httpx.post(f"{url}/session", json={"key": ALICE}, verify=NO_CERTIFICATES).headers["Set-Cookie"]
    headers = {**headers, "Cookie": cookie.partition(";")[0]}
    assert_problem(httpx.post(f"{url}/jobs", json={"prompt": "x"}, headers=headers, verify=NO_CERTIFICATES), 403)
    if "Origin" in headers:
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            websocket.create_connection(
                url.replace("http", "ws") + "/ws",
                cookie=headers["Cookie"],
                origin=headers["Origin"],
                timeout=10,
            )
        assert caught.value.status_code == 403


def test_session_ends_with_its_key(guarded: Stack, page: httpx.Client) -> None:
    """A revoked key's session is refused."""
    with guarded.client(headers={"Authorization": f"Bearer {ADMIN}"}) as admin:
        key = admin.post("/admin/keys", json={"owner": "alice"}).json()
        assert page.post("/session", json={"key": key["key"]}).status_code == 200
        assert page.get("/jobs").status_code == 200
        admin.post(f"/admin/keys/{key['id']}/revoke")
    wait_for(lambda: page.get("/jobs").status_code == 401, "the session has ended", within_s=5)


def test_cookie_over_https_is_bound_to_its_host(guarded: Stack) -> None:
    """Behind proxies that end TLS its name has the prefix of browsers, and the logout removes it."""
    url = guarded.webs[0].url
    headers = {"Origin": url.replace("http", "https"), "X-Forwarded-Proto": "https, http", "Host": "127.0.0.1"}
    with guarded.client(headers=headers) as page:
        response = page.post("/session", json={"key": ALICE}, headers={"Origin": "https://127.0.0.1"})
        assert response.status_code == 200, response.text
        assert response.headers["Set-Cookie"].startswith("__Host-spool_session=")
        assert "Secure" in response.headers["Set-Cookie"]


def test_wrong_key_begins_no_session(page: httpx.Client) -> None:
    """401, without a cookie; a forged cookie is none."""
    response = page.post("/session", json={"key": "wrong-secret-0123"})
    assert_problem(response, 401)
    assert "Set-Cookie" not in response.headers
    page.cookies.set("spool_session", "WyJzZXNzaW9uIl0.forged")
    assert_problem(page.get("/jobs"), 401)
