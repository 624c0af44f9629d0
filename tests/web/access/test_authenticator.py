"""Callers that a proxy names. The other kinds are tested where they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from flask import Flask, request

from spool.access.caller import Caller, Kind
from spool.access.door import Door
from spool.access.key_store import KeyStore
from spool.redis.link import RedisLink
from spool.settings import WebSettings
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
    authenticator = Authenticator(settings, KeyStore(link), Signer(lambda: ["s" * 32]), limits)

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
