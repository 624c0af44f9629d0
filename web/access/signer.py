"""Signs and verifies grants, with itsdangerous."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from itsdangerous import BadData, URLSafeSerializer

from spool.access.caller import Caller, Kind
from spool.access.grants import Grant

TOKEN_PREFIX = "spool-bt-"  # noqa: S105 - the public beginning of all tokens
"""How a browser token begins, so that it is not taken for a key."""
_TEXT_AT_MOST = 2048
_BINDING = 12


class Signer:
    """The signatures of one process. ``load`` gives the signing keys, newest first; it is called before the first use
    and after ``forget``. Each call may raise ``StoreUnavailable``. ``clock`` is the time since the epoch."""

    def __init__(self, load: Callable[[], Sequence[str]], clock: Callable[[], float] = time.time) -> None:
        self._load = load
        self._clock = clock
        self._keys: Sequence[str] = ()

    def forget(self) -> None:
        """Load the signing keys again before the next use."""
        self._keys = ()

    def sign(self, grant: Grant) -> str:
        """The grant as text for URLs, headers and cookies."""
        text = _serializer(grant.kind, self._current()[0]).dumps(grant.encode())
        signed = text if isinstance(text, str) else text.decode()
        return f"{TOKEN_PREFIX}{signed}" if grant.kind is Kind.TOKEN else signed

    def read(self, kind: Kind, text: str) -> Grant | None:
        """The grant of this kind; None if it is forged, of another kind, or expired."""
        if kind is Kind.TOKEN:
            if not text.startswith(TOKEN_PREFIX):
                return None
            text = text.removeprefix(TOKEN_PREFIX)
        if len(text) > _TEXT_AT_MOST:
            return None
        for key in self._current():
            try:
                grant = Grant.decode(_serializer(kind, key).loads(text))
            except (BadData, ValueError):
                continue
            if grant.kind is kind and self._clock() < grant.expires_at:
                return replace(grant, signed_by=_id_of(key))
        return None

    def has(self, key_id: str) -> bool:
        """Whether the key with this id still signs, or verifies."""
        return any(_id_of(key) == key_id for key in self._current())

    def binding(self, caller: Caller) -> str:
        """Text that binds a grant to the secret of a static key, and tells nothing about it; empty for other kinds."""
        return self._bindings(caller)[0] if caller.fingerprint else ""

    def is_bound(self, grant: Grant, caller: Caller) -> bool:
        """Whether the grant was bound to this static key."""
        return any(hmac.compare_digest(grant.binding.encode(), each.encode()) for each in self._bindings(caller))

    def _bindings(self, caller: Caller) -> list[str]:
        keys = self._current()
        return [hmac.new(key.encode(), caller.fingerprint, "sha256").hexdigest()[:_BINDING] for key in keys]

    def _current(self) -> Sequence[str]:
        if not self._keys:
            self._keys = self._load()
        return self._keys


def _serializer(kind: Kind, key: str) -> URLSafeSerializer:
    signer = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    return URLSafeSerializer(key, salt=f"spool.{kind.value}", signer_kwargs=signer)


def _id_of(key: str) -> str:
    """An id of a signing key, which tells nothing about it."""
    return hashlib.sha256(b"spool signing key" + key.encode()).hexdigest()[:_BINDING]
