"""JSON Web Tokens, signed here as an identity provider does."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from spool.access.caller import BY_DEFAULT, Kind
from web.access.jwts import Jwts, JwtSettings, KeySet, load

OURS, THEIRS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
SETTINGS = JwtSettings("", None, "https://id.example", "spool", "sub", "scope")


def key_set(*keys: tuple[str, Ed25519PrivateKey]) -> bytes:
    """The public keys as a provider serves them."""
    found = []
    for key_id, key in keys:
        raw = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
        found.append({"kty": "OKP", "crv": "Ed25519", "x": raw, "kid": key_id, "alg": "EdDSA", "use": "sig"})
    return orjson.dumps({"keys": found})


def signed(key: Any = OURS, kid: str = "one", algorithm: str = "EdDSA", **changes: Any) -> str:
    """A token of alice for Spool, changed; a claim of None is left out."""
    claims = {"sub": "alice", "iss": "https://id.example", "aud": "spool", "exp": time.time() + 600, **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": kid})


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
