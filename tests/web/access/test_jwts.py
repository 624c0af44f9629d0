"""JSON Web Tokens, signed here as an identity provider does."""

from __future__ import annotations

import re
import time
from pathlib import Path

import gevent
import pytest

from rig.process import ROOT
from spool.access.caller import BY_DEFAULT, Kind
from tests.web.access.provider import OURS, THEIRS, key_set, signed
from web.access.jwt_settings import JwtSettings, NoKeySet
from web.access.jwts import Jwts, KeySet, load

AUTHENTICATOR = ROOT / "web/access/authenticator.py"
SETTINGS = JwtSettings("", None, "https://id.example", "spool", "sub", "scope")


def jwts(*sets: bytes) -> Jwts:
    """The checker, whose loads get these key sets one after the other."""
    left = iter(sets or (key_set(("one", OURS)),))
    return Jwts(SETTINGS, KeySet(lambda: next(left), clock=lambda: 0.0))


def test_token_names_its_owner_and_its_scopes() -> None:
    """Scopes of other services mean nothing; without the claim, a token has all but ``admin``."""
    caller = jwts().caller(signed(scope="openid jobs:read"))
    assert caller is not None
    assert (caller.owner, caller.kind, caller.credential, caller.scopes) == (
        *("alice", Kind.JWT, "jwt-alice"),
        {"jobs:read"},
    )
    assert caller.expires_at is not None
    plain = jwts().caller(signed())
    assert plain is not None
    assert plain.scopes == BY_DEFAULT


@pytest.mark.parametrize(
    "text",
    [
        signed(THEIRS),
        signed(kid="two"),
        signed(exp=time.time() - 60),
        signed(exp=None),
        signed(aud="other"),
        signed(aud=None),
        signed(iss="https://evil.example"),
        signed(sub="a:b"),
        signed(sub=None),
        signed("k" * 32, algorithm="HS256"),
        signed(OURS.public_key().public_bytes_raw(), algorithm="HS256"),
        signed(None, algorithm="none"),
        signed()[:-5],
        "a.b.c",
        "..",
        signed() + "." * 9000,
    ],
    ids=[
        *("other key", "unknown key", "expired", "no end", "other audience", "no audience", "other issuer"),
        *("no owner's name", "no owner", "shared secret", "public key as secret", "unsigned", "cut", "nonsense"),
        *("empty", "long"),
    ],
)
def test_token_that_is_not_valid(text: str) -> None:
    """None of these is a caller, and none raises."""
    assert jwts(key_set(("one", OURS)), key_set(("one", OURS))).caller(text) is None


def test_new_key_of_the_provider_is_loaded() -> None:
    """A token that names it is valid at once, but many of unknown keys load the set once in ten seconds."""
    now, loads = [0.0], list[float]()

    def next_set() -> bytes:
        loads.append(now[0])
        return key_set(("one", OURS), *([("two", THEIRS)] if len(loads) > 1 else []))

    checker = Jwts(SETTINGS, KeySet(next_set, clock=lambda: now[0]))
    assert checker.caller(signed())
    for _ in range(5):
        assert checker.caller(signed(THEIRS, kid="two")) is None
    now[0] = 10.0
    assert checker.caller(signed(THEIRS, kid="two"))
    assert loads == [0.0, 10.0]


def test_set_that_cannot_be_loaded_leaves_the_one_before(caplog: pytest.LogCaptureFixture) -> None:
    """The log says so."""
    now, sets = [0.0], iter([key_set(("one", OURS)), b"<html>"])
    checker = Jwts(SETTINGS, KeySet(lambda: next(sets), clock=lambda: now[0]))
    assert checker.caller(signed())
    now[0] = 300.0
    assert checker.caller(signed())
    assert "cannot load the key set" in caplog.text


def test_set_of_a_file(tmp_path: Path) -> None:
    """It is read whole, unless it is too large."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(("one", OURS)))
    settings = JwtSettings("", path, "", "spool", "sub", "scope")
    assert load(settings) == key_set(("one", OURS))
    path.write_bytes(b" " * 300_000)
    with pytest.raises(ValueError, match="too large"):
        load(settings)


def test_requests_during_the_first_load_wait_for_it() -> None:
    """None of them is refused because the set is not there yet, and the set is loaded once."""
    loads = list[int]()

    def slow() -> bytes:
        loads.append(1)
        gevent.sleep(0.01)
        return key_set(("one", OURS))

    checker = Jwts(SETTINGS, KeySet(slow, clock=lambda: 0.0))
    found = [gevent.spawn(checker.caller, signed()) for _ in range(3)]
    gevent.joinall(found, raise_error=True)
    assert [each.value and each.value.owner for each in found] == ["alice"] * 3
    assert len(loads) == 1


def test_provider_that_is_away_at_the_start() -> None:
    """Tokens cannot be checked, which does not make them wrong; a later load ends this."""
    now, sets = [0.0], iter([b"<html>", key_set(("one", OURS))])
    checker = Jwts(SETTINGS, KeySet(lambda: next(sets), clock=lambda: now[0]))
    for _ in range(2):
        with pytest.raises(NoKeySet):
            checker.caller(signed())
    now[0] = 10.0
    assert checker.caller(signed())


def test_form_of_a_token() -> None:
    """Valid or not; two dots alone make none."""
    assert Jwts.has_form(signed(exp=time.time() - 60))
    assert Jwts.has_form(signed(THEIRS))
    assert not any(map(Jwts.has_form, ("", "a.b.c", "my.static.secret", signed() + "." * 9000)))


def test_admin_is_taken_only_with_its_prefix() -> None:
    """Providers use the short name for rights of their own."""
    for said, scopes in [("admin jobs:read", {"jobs:read"}), ("spool:admin spool:jobs:read", {"admin", "jobs:read"})]:
        caller = jwts().caller(signed(scope=said))
        assert caller is not None
        assert caller.scopes == scopes


def test_servers_without_tokens_load_no_cryptography() -> None:
    """It would cost each process 9 MB and a tenth of a second: one module imports PyJWT, and is imported where tokens
    are taken."""
    importers = {
        str(path.relative_to(ROOT))
        for package in ("spool", "web", "worker")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^(import jwt|from jwt|import cryptography|from cryptography)", path.read_text(), re.MULTILINE)
    }
    assert importers == {"web/access/jwts.py"}
    assert "from web.access.jwts" not in re.sub(r"^ +.*$", "", AUTHENTICATOR.read_text(), flags=re.MULTILINE)
