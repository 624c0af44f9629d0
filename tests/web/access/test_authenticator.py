"""Callers that a proxy names, blocked addresses, renewed callers. The other kinds are tested where they are made."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from flask import Flask, request
from pydantic import SecretStr

from spool.access.caller import Caller, Kind
from spool.access.door import Door
from spool.access.failure_counts import FailureCounts
from spool.access.key_store import KeyStore
from spool.access.keys import Key
from spool.access.limits import KeyLimits
from spool.redis.link import RedisLink
from spool.settings import WebSettings
from tests.web.access.provider import OURS, key_set, signed
from web.access.authenticator import Authenticator
from web.access.request_limits import RequestLimits
from web.access.signer import Signer
from web.problems import Problem

Find = Callable[..., Caller]


@pytest.fixture
def find(link: RedisLink) -> Find:
    """Finds the caller of a request from ``peer``."""
    settings = WebSettings(owner_header="X-Owner", trusted_proxies="10.0.0.0/8")
    limits = RequestLimits(Door(link), 0, 0)
    authenticator = Authenticator(settings, KeyStore(link), Signer(lambda: ["s" * 32]), limits, FailureCounts(link))

    def found(peer: str, method: str = "GET", **options: Any) -> Caller:
        environ = {"REMOTE_ADDR": peer}
        with Flask("test").test_request_context("/jobs", method=method, environ_overrides=environ, **options):
            assert request.remote_addr == peer
            return authenticator.caller(is_stream=False)

    return cast(Find, found)


def test_trusted_proxy_names_the_owner(find: Find) -> None:
    """All scopes but ``admin``."""
    caller = find("10.1.2.3", headers={"X-Owner": "alice"})
    assert (caller.owner, caller.kind, caller.credential) == ("alice", Kind.PROXY, "proxy-alice")
    assert "admin" not in caller.scopes


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("203.0.113.7", [("X-Owner", "alice")]),
        ("203.0.113.7", [("X-Owner", "alice"), ("X-Forwarded-For", "10.0.0.1")]),
        ("", [("X-Owner", "alice")]),
        ("10.1.2.3", []),
        ("10.1.2.3", [("X-Owner", "a:b")]),
        ("10.1.2.3", [("X-Owner", "alice"), ("X-Owner", "bob")]),
        ("10.1.2.3", [("X-Owner", "alice"), ("Authorization", "Bearer wrong-0123456789")]),
    ],
    ids=["stranger", "forwarded", "unknown", "missing", "no name", "twice", "wrong key"],
)
def test_owner_that_no_trusted_proxy_names(find: Find, peer: str, headers: list[tuple[str, str]]) -> None:
    """401: the header of anybody else is ignored, and so are two of them."""
    with pytest.raises(Problem) as caught:
        find(peer, headers=headers)
    assert caught.value.status == 401


def test_change_by_a_foreign_page_through_the_proxy(find: Find) -> None:
    """The browser may have shown its login to the proxy by itself."""
    headers = {"X-Owner": "alice", "Origin": "https://evil.example"}
    with pytest.raises(Problem) as caught:
        find("10.1.2.3", "POST", headers=headers)
    assert caught.value.status == 403
    assert find("10.1.2.3", "POST", headers={"X-Owner": "alice"}).owner == "alice"


@pytest.fixture
def jwt_authenticator(link: RedisLink, tmp_path: Path) -> Authenticator:
    """An authenticator of one static key, and of JWTs."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(("one", OURS)))
    settings = WebSettings(
        api_keys=SecretStr("alice=a-static-key"),
        jwt_jwks_file=path,
        jwt_issuer="https://id.example",
        jwt_audience="spool",
    )
    limits = RequestLimits(Door(link), 0, 0)
    return Authenticator(settings, KeyStore(link), Signer(lambda: ["s" * 32]), limits, FailureCounts(link))


def status_of(authenticator: Authenticator, secret: str) -> int:
    """The status that this credential gets at an address of the Internet."""
    environ = {"REMOTE_ADDR": "203.0.113.7"}
    with Flask("test").test_request_context("/jobs", environ_overrides=environ):
        try:
            authenticator.of_secret(secret.encode())
        except Problem as problem:
            return problem.status
    return 200


def test_expired_tokens_block_nobody(jwt_authenticator: Authenticator) -> None:
    """A page whose token has expired may ask for ever, and the others of its address are not affected."""
    expired = signed(exp=time.time() - 60)
    assert {status_of(jwt_authenticator, expired) for _ in range(40)} == {401}
    assert status_of(jwt_authenticator, "a-static-key") == 200


def test_token_at_a_blocked_address(jwt_authenticator: Authenticator) -> None:
    """Its signature cannot be guessed, so it is let in; a static key may be short, so it must wait."""
    assert [status_of(jwt_authenticator, "wrong-key") for _ in range(31)] == [401] * 30 + [429]
    assert status_of(jwt_authenticator, signed()) == 200
    assert status_of(jwt_authenticator, signed(exp=time.time() - 60)) == 429
    assert status_of(jwt_authenticator, "a-static-key") == 429


def test_renewed_caller_has_the_limits_of_its_key_as_they_are(
    jwt_authenticator: Authenticator, link: RedisLink
) -> None:
    """Also a session's; without its key it is refused."""
    store = KeyStore(link)
    key, shown = store.create(Key(id="", owner="alice", digest=b""))
    with Flask("test").test_request_context("/jobs"):
        caller = jwt_authenticator.of_secret(shown.encode())
    session = replace(caller, kind=Kind.SESSION, parent=Kind.KEY)
    store.limit(key.id, KeyLimits(requests_per_minute=5))
    jwt_authenticator.look()
    for before in (caller, session):
        assert jwt_authenticator.renewed(before) == replace(before, limits=KeyLimits(requests_per_minute=5))
    store.revoke(key.id)
    jwt_authenticator.look()
    with pytest.raises(Problem) as caught:
        jwt_authenticator.renewed(session)
    assert caught.value.status == 401
