"""The one place that finds the caller of a request from the credential that it shows."""

from __future__ import annotations

from contextlib import suppress

from flask import request

from spool.access.caller import ANONYMOUS, Caller, Kind
from spool.access.key_store import KeyStore
from spool.errors import StoreUnavailable
from spool.settings import WebSettings
from web import origins
from web.access.addresses import client_address, counted_as, parse_networks
from web.access.failed_logins import FailedLogins
from web.access.key_table import KeyTable
from web.access.static_table import StaticTable
from web.access.tenures import Tenures
from web.problems import Problem, retry_after

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Authenticator:
    """Finds callers. Without any kind of credential in the settings, every caller is anonymous and any credential is
    ignored."""

    def __init__(self, settings: WebSettings, keys: KeyStore) -> None:
        self._settings = settings
        self._trusted = parse_networks(settings.trusted_proxies)
        self.store = keys
        self._static = StaticTable(settings.static_keys(), settings.api_keys_file)
        self._keys = KeyTable(keys)
        self._failures = FailedLogins()
        self.tenures = Tenures(self.is_valid, self.can_end)

    def caller(self) -> Caller:
        """The caller of this request. Raises a 401 ``Problem``, 403 for a page of another origin, 429 for an address
        with many wrong credentials, and ``StoreUnavailable``."""
        if not self._settings.needs_credential():
            if request.method not in _SAFE_METHODS:
                origins.refuse_foreign(self._settings)
            return ANONYMOUS
        secret = _shown_secret()
        if not secret:
            raise not_authenticated()
        return self._of_secret(secret)

    def address(self) -> str:
        """The address of this request's client; empty if it is not known."""
        return client_address(request, self._trusted)

    def is_valid(self, caller: Caller) -> bool:
        """Whether the caller's credential is still valid. Raises ``StoreUnavailable`` for a key that is not cached."""
        match caller.kind:
            case Kind.STATIC:
                return self._static.current(caller) is not None
            case Kind.KEY:
                return self._keys.current(caller.credential) is not None
            case _:
                return True

    def can_end(self, caller: Caller) -> bool:
        """Whether the caller's credential can become invalid while this process runs."""
        if caller.kind is Kind.STATIC:
            return self._settings.api_keys_file is not None
        return caller.kind is Kind.KEY

    def look(self) -> None:
        """Take over changes of credentials, and end the streams of those that are no longer valid. Call it every
        second. While Redis is away, the keys that are known stay valid."""
        if not self._settings.needs_credential():
            return
        self._static.look()
        with suppress(StoreUnavailable):
            self._keys.look()
        with suppress(StoreUnavailable):
            self.tenures.look()

    def _of_secret(self, secret: bytes) -> Caller:
        address = counted_as(self.address())
        blocked_s = self._failures.blocked_s(address)
        if blocked_s:
            # Keys cannot be guessed, so a known one is let in. A static secret may be short.
            known = self._keys.caller(secret) if self._keys.knows(secret) else None
            if known is None:
                detail = f"too many wrong credentials from {address}; wait"
                raise Problem(429, "Too many requests", detail, headers=retry_after(blocked_s))
            return known
        caller = self._static.caller(secret) or self._keys.caller(secret)
        if caller is None:
            self._failures.note(address)
            raise not_authenticated()
        return caller


def _shown_secret() -> bytes:
    """The secret of the request's headers; empty if there is none."""
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    if not kind:
        # Anthropic's SDKs send a key so, and their tokens as bearers.
        kind, secret = "bearer", request.headers.get("x-api-key", "")
    # WSGI decodes header bytes as Latin-1; a key is UTF-8 text.
    return secret.strip().encode("latin-1") if kind.lower() == "bearer" else b""


def not_authenticated(detail: str = "send a valid key as 'Authorization: Bearer …'") -> Problem:
    """The problem of a request without a valid credential."""
    return Problem(401, "Not authenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="spool"'})
