"""JSON Web Tokens of an identity provider, checked with PyJWT against its key set (RFC 7519, RFC 7517).

Imported only where tokens are taken: PyJWT and its cryptography need 9 MB and a tenth of a second of a process's start.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import orjson
from gevent.lock import BoundedSemaphore

from spool.access.caller import BY_DEFAULT, SCOPES, Caller, Kind, is_owner
from web.access.jwt_settings import UNKNOWN_KEY_AFTER_S, JwtSettings, NoKeySet

log = logging.getLogger("spool.web")

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a private key alone: a public key must never pass for a shared secret."""
_AGAIN_AFTER_S = 300.0
_TIMEOUT_S = 5.0
_SET_BYTES = 256 * 1024
_TOKEN_BYTES = 8192
_LEEWAY_S = 5
_PREFIX = "spool:"
"""Before the names of scopes, if a provider has other scopes of the same names. `admin` needs it."""


class KeySet:
    """A key set that is loaded again now and then, and when a token names a key that it lacks. A set that cannot be
    loaded leaves the one before. ``clock`` is monotonic."""

    def __init__(self, load: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._loaded_at = float("-inf")
        self._loading = BoundedSemaphore(1)

    def key(self, key_id: str | None) -> jwt.PyJWK | None:
        """The key with this id; without an id, the only one. None if there is none. Raises ``NoKeySet`` if no set could
        be loaded yet."""
        age_s, is_known = self._clock() - self._loaded_at, self._found(key_id) is not None
        if age_s >= _AGAIN_AFTER_S or (not is_known and age_s >= UNKNOWN_KEY_AFTER_S):
            self._read()
        elif not is_known:
            # The load that another request has begun may bring the key.
            with self._loading:
                pass
        if not self._keys:
            raise NoKeySet
        return self._found(key_id)

    def _found(self, key_id: str | None) -> jwt.PyJWK | None:
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    def _read(self) -> None:
        # Before the load, so that requests that come meanwhile do not load it, too.
        self._loaded_at = self._clock()
        try:
            with self._loading:
                data = self._load()
            found = jwt.PyJWKSet.from_dict(orjson.loads(data))
        except (OSError, ValueError, httpx.HTTPError, jwt.PyJWTError) as exc:
            log.error("cannot load the key set for JWTs (%s): the keys so far stay valid, if any", type(exc).__name__)
            return
        self._keys = {key.key_id: key for key in found.keys if key.key_type != "oct"}


class Jwts:
    """Callers by their tokens."""

    def __init__(self, settings: JwtSettings, keys: KeySet | None = None) -> None:
        self._settings = settings
        self._keys = keys or KeySet(lambda: load(settings))

    def caller(self, text: str) -> Caller | None:
        """The caller of a token; None if it is not valid. A token without an end is not valid. Raises ``NoKeySet``."""
        if text.count(".") != 2 or len(text) > _TOKEN_BYTES:
            return None
        try:
            key = self._keys.key(jwt.get_unverified_header(text).get("kid"))
            return self._caller(self._claims(text, key)) if key is not None else None
        except (jwt.PyJWTError, ValueError, TypeError):
            return None

    @staticmethod
    def has_form(text: str) -> bool:
        """Whether a text has the form of a token, valid or not."""
        try:
            return len(text) <= _TOKEN_BYTES and bool(jwt.get_unverified_header(text))
        except (jwt.PyJWTError, ValueError, TypeError):
            return False

    def _claims(self, text: str, key: jwt.PyJWK) -> dict[str, Any]:
        asked = self._settings
        claims: dict[str, Any] = jwt.decode(
            text,
            key,
            algorithms=_ALGORITHMS,
            audience=asked.audience or None,
            issuer=asked.issuer or None,
            leeway=_LEEWAY_S,
            options={"require": ["exp"], "verify_aud": bool(asked.audience), "verify_iss": bool(asked.issuer)},
        )
        return claims

    def _caller(self, claims: dict[str, Any]) -> Caller | None:
        owner, said = claims.get(self._settings.owner_claim), claims.get(self._settings.scope_claim)
        if not isinstance(owner, str) or not is_owner(owner):
            return None
        scopes = BY_DEFAULT
        if said is not None:
            # Providers put scopes of others in the same claim, and "admin" is a name that many use.
            names = [name for name in (said.split() if isinstance(said, str) else said) if isinstance(name, str)]
            scopes = frozenset(name.removeprefix(_PREFIX) for name in names if name != "admin") & frozenset(SCOPES)
        return Caller(
            owner=owner, scopes=scopes, kind=Kind.JWT, credential=f"jwt-{owner}", expires_at=float(claims["exp"])
        )


def load(settings: JwtSettings) -> bytes:
    """The key set's JSON. Raises ``OSError``, ``httpx.HTTPError``, ``ValueError``."""
    if settings.path is not None:
        data = settings.path.read_bytes()
    else:
        with httpx.stream("GET", settings.url, timeout=_TIMEOUT_S, follow_redirects=False) as response:
            response.raise_for_status()
            data = b""
            for piece in response.iter_bytes():
                data += piece
                if len(data) > _SET_BYTES:
                    break
    if len(data) > _SET_BYTES:
        raise ValueError("the key set is too large")
    return data
