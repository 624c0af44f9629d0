"""The one place that finds the caller of a request from the credential that it shows."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from flask import request

from spool.access.caller import ANONYMOUS, BY_DEFAULT, Caller, Kind, is_owner
from spool.access.failure_counts import FailureCounts
from spool.access.grants import Grant
from spool.access.key_store import KeyStore
from spool.errors import StoreUnavailable
from spool.settings import WebSettings
from web import origin_check
from web.access.addresses import client_address, counted_as, is_trusted, parse_networks
from web.access.failed_logins import FailedLogins
from web.access.jwt_settings import JwtSettings, NoKeySet
from web.access.key_table import KeyTable
from web.access.request_limits import RequestLimits
from web.access.shown import Shown, shown_by
from web.access.signer import Signer
from web.access.static_table import StaticTable
from web.access.tenures import Tenures
from web.problems import Problem, retry_after

if TYPE_CHECKING:
    from web.access.jwts import Jwts

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ENDING = frozenset({Kind.KEY, Kind.JWT, Kind.TOKEN, Kind.SESSION})


class Authenticator:
    """Finds callers. Without any kind of credential in the settings, every caller is anonymous, and keys are ignored;
    links and tokens are not. ``clock`` of the signer is the time since the epoch."""

    def __init__(
        self, settings: WebSettings, keys: KeyStore, signer: Signer, limits: RequestLimits, failures: FailureCounts
    ) -> None:
        self._settings = settings
        self._trusted = parse_networks(settings.trusted_proxies)
        self.store = keys
        self.signer = signer
        self.limits = limits
        self._static = StaticTable(settings.static_keys(), settings.api_keys_file)
        self._keys = KeyTable(keys)
        self._jwts = _jwts(settings)
        self._failures = FailedLogins(failures)
        self.tenures = Tenures(self.is_valid, self.can_end)

    def caller(self, *, is_stream: bool) -> Caller:
        """The caller of this request. ``is_stream``: a token may be in its query. Raises a 401 ``Problem``, 403 for a
        page of another origin, 429 for an address with many wrong credentials, and ``StoreUnavailable``."""
        shown = shown_by(request, takes_token=is_stream)
        if shown.kind in (Kind.LINK, Kind.TOKEN):
            return self._of_grant(shown)
        if not self._settings.needs_credential():
            if request.method not in SAFE_METHODS:
                origin_check.refuse_foreign(self._settings)
            return ANONYMOUS
        if not shown.text:
            owner = self._owner_of_proxy()
            if owner is None:
                raise not_authenticated()
            return owner
        if shown.kind is Kind.SESSION:
            caller = self._of_grant(shown)
            if request.method not in SAFE_METHODS:
                origin_check.refuse_all_but_own()
            return caller
        return self.of_secret(shown.text.encode("latin-1"))

    def of_secret(self, secret: bytes) -> Caller:
        """The caller with this key. Raises as ``caller`` does."""
        address = counted_as(self.address())
        blocked_s = self._failures.blocked_s(address)
        if blocked_s:
            # Neither keys nor signatures can be guessed, so a known key and a token are let in. A static secret may be
            # short.
            known = self._keys.caller(secret) if self._keys.knows(secret) else self._of_jwt(secret)
            if known is None:
                detail = f"too many wrong credentials from {address}; wait"
                raise Problem(429, "Too many requests", detail, headers=retry_after(blocked_s))
            return known
        caller = self._static.caller(secret) or self._keys.caller(secret) or self._of_jwt(secret)
        if caller is None:
            if not self._is_jwt(secret):
                # A page whose token has expired asks again, and must not block the others of its address.
                self._failures.note(address)
            raise not_authenticated()
        return caller

    def renewed(self, caller: Caller) -> Caller:
        """The caller with the limits that its key has now: a socket may be open for days. Raises a 401 ``Problem`` if
        the key is no longer valid, and ``StoreUnavailable``."""
        if (caller.parent or caller.kind) is not Kind.KEY:
            return caller
        current = self._keys.current(caller.credential)
        if current is None:
            raise not_authenticated()
        return replace(caller, limits=current.limits)

    def address(self) -> str:
        """The address of this request's client; empty if it is not known."""
        return client_address(request, self._trusted)

    def is_secure(self) -> bool:
        """Whether the client's connection is encrypted, also if a trusted proxy says so."""
        if not is_trusted(request.remote_addr or "", self._trusted):
            return request.is_secure
        # Each proxy may add its own; the first one is the client's.
        said = request.headers.get("X-Forwarded-Proto", "").partition(",")[0]
        return request.is_secure or said.strip().lower() == "https"

    def refuse_foreign_socket(self, caller: Caller) -> None:
        """Raise a 403 ``Problem`` for a WebSocket of a foreign page. A link or a token is shown by the page itself, so
        its origin does not matter; a browser adds a session by itself."""
        if caller.kind is Kind.SESSION:
            origin_check.refuse_all_but_own()
        elif caller.kind not in (Kind.LINK, Kind.TOKEN):
            origin_check.refuse_foreign(self._settings)

    def is_valid(self, caller: Caller) -> bool:
        """Whether the caller's credential is still valid. Raises ``StoreUnavailable`` for keys that are not cached."""
        if caller.expires_at is not None and time.time() >= caller.expires_at:
            return False
        if caller.signed_by and not self.signer.has(caller.signed_by):
            return False
        match caller.parent or caller.kind:
            case Kind.STATIC:
                return self._static.current(caller) is not None
            case Kind.KEY:
                return self._keys.current(caller.credential) is not None
            case _:
                return True

    def can_end(self, caller: Caller) -> bool:
        """Whether the caller's credential can become invalid while this process runs. A stream that began under a link
        goes on to the job's end."""
        if caller.kind is Kind.STATIC:
            return self._settings.api_keys_file is not None
        return caller.kind in _ENDING

    def look(self) -> None:
        """Take over changes of credentials, and end the streams of those that are no longer valid. Call it every
        second. While Redis is away, the keys that are known stay valid."""
        self._static.look()
        before = self._keys.version
        with suppress(StoreUnavailable):
            self._keys.look()
        if self._keys.version != before:
            self.signer.forget()
        with suppress(StoreUnavailable):
            self.tenures.look()

    def _of_jwt(self, secret: bytes) -> Caller | None:
        try:
            return self._jwts.caller(secret.decode("latin-1")) if self._jwts else None
        except NoKeySet as exc:
            detail = "the key set of the identity provider cannot be loaded; retry"
            raise Problem(503, "No key set", detail, headers=retry_after(exc.retry_after_s)) from exc

    def _is_jwt(self, secret: bytes) -> bool:
        return self._jwts is not None and self._jwts.has_form(secret.decode("latin-1"))

    def _owner_of_proxy(self) -> Caller | None:
        """The owner that a trusted proxy names; None if the request comes from no such proxy, or names none."""
        header = self._settings.owner_header
        if not header or not is_trusted(request.remote_addr or "", self._trusted):
            return None
        named = request.headers.getlist(header)
        if len(named) != 1 or not is_owner(named[0]):
            return None
        if request.method not in SAFE_METHODS:
            # The proxy's own login may be a cookie.
            origin_check.refuse_foreign(self._settings)
        return Caller(owner=named[0], scopes=BY_DEFAULT, kind=Kind.PROXY, credential=f"proxy-{named[0]}")

    def _of_grant(self, shown: Shown) -> Caller:
        """The caller of a link, a token or a session: what is left of the credential behind it."""
        grant = self.signer.read(shown.kind, shown.text)
        parent = self._parent(grant) if grant is not None else None
        if grant is None or parent is None:
            # Not counted as a failed login: a signature cannot be guessed, and pages with an old link come again.
            raise not_authenticated(f"this {shown.kind.value} is not valid, or has expired")
        limited = grant.kind is not Kind.SESSION
        return replace(
            parent,
            kind=grant.kind,
            parent=grant.parent,
            expires_at=grant.expires_at,
            allows=grant.allows if limited else None,
            job=grant.job,
            batch=grant.batch,
            conversation=grant.conversation,
            signed_by=grant.signed_by,
        )

    def _parent(self, grant: Grant) -> Caller | None:
        """The credential behind a grant, as it is now; None if it is no longer valid."""
        match grant.parent:
            case Kind.ANONYMOUS:
                return None if self._settings.needs_credential() else ANONYMOUS
            case Kind.STATIC:
                caller = self._static.by_id(grant.credential, grant.owner)
                return caller if caller is not None and self.signer.is_bound(grant, caller) else None
            case Kind.KEY:
                return self._keys.current(grant.credential)
            case Kind.JWT if self._jwts:
                # Its own end is not known here. The grant has an end, and allows less.
                return Caller(owner=grant.owner, scopes=BY_DEFAULT, kind=Kind.JWT, credential=grant.credential)
            case Kind.PROXY if self._settings.owner_header:
                return Caller(owner=grant.owner, scopes=BY_DEFAULT, kind=Kind.PROXY, credential=grant.credential)
            case _:
                return None


def _jwts(settings: WebSettings) -> Jwts | None:
    if not settings.has_jwts():
        return None
    # Most servers take no tokens.
    from web.access.jwts import Jwts

    asked = JwtSettings(
        url=settings.jwt_jwks_url,
        path=settings.jwt_jwks_file,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        owner_claim=settings.jwt_owner_claim,
        scope_claim=settings.jwt_scope_claim,
    )
    return Jwts(asked)


def not_authenticated(detail: str = "send a valid key as 'Authorization: Bearer …'") -> Problem:
    """The problem of a request without a valid credential."""
    return Problem(401, "Not authenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="spool"'})
