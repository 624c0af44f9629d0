"""A caller: the owner of a request, its scopes, and the credential that it showed.

Every surface gets its caller from one place (``web.auth``), and every record, limit, metric and audit line takes owner
and credential from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from spool.access.limits import NO_KEY_LIMITS, KeyLimits

SCOPES = ("jobs:read", "jobs:write", "batches", "models:read", "operations:read", "admin")
"""What a credential may allow."""
BY_DEFAULT = frozenset(SCOPES) - {"admin"}
"""The scopes of a credential for which none are given."""
ANONYMOUS_OWNER = "anonymous"
_OWNER_LENGTH = 64


class Kind(StrEnum):
    """How the caller showed who it is."""

    ANONYMOUS = "anonymous"
    STATIC = "static"
    KEY = "key"
    JWT = "jwt"
    PROXY = "proxy"
    LINK = "link"
    TOKEN = "token"  # noqa: S105 - a name
    SESSION = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A caller of one request."""

    owner: str
    scopes: frozenset[str]
    kind: Kind
    credential: str = ""
    """The id of the key, or of the key behind a link, token or session; empty: there is none."""
    models: frozenset[str] | None = None
    """The models that it may name; None: all."""
    limits: KeyLimits = NO_KEY_LIMITS
    expires_at: float | None = None
    """When a credential without a record of its own ends; None: never."""
    fingerprint: bytes = field(default=b"", repr=False)
    """The digest of a static key."""
    parent: Kind | None = None
    """Of a link, token or session: the kind of the credential behind it."""
    allows: tuple[str, ...] | None = None
    """Of a link or token: the calls that it allows (``web.auth.scope``); None: those of its scopes."""
    job: str = ""
    """Of a link or token: the only job, batch or conversation that it is for."""
    batch: str = ""
    conversation: str = ""
    signed_by: str = ""
    """Of a link, token or session: the id of the key that has signed it."""

    def may_name(self, model: str) -> bool:
        """Whether it may name this model."""
        return self.models is None or model in self.models

    def may(self, scope: str, call: str) -> bool:
        """Whether it may make this call, which needs this scope."""
        return scope in self.scopes and (self.allows is None or call in self.allows)


ANONYMOUS = Caller(owner=ANONYMOUS_OWNER, scopes=BY_DEFAULT, kind=Kind.ANONYMOUS)
"""Every caller of a server without keys."""


def parse_scopes(text: str) -> frozenset[str]:
    """The scopes of a text, divided by ``+``, commas or spaces; ``*`` are all but ``admin``. Raises ``ValueError``."""
    names = text.replace("+", " ").replace(",", " ").split()
    unknown = [name for name in names if name != "*" and name not in SCOPES]
    if unknown or not names:
        raise ValueError(f"no scope {unknown[0] if unknown else text!r}; there are {', '.join(SCOPES)} and *")
    return frozenset(name for name in names if name != "*") | (BY_DEFAULT if "*" in names else frozenset())


def is_owner(name: str) -> bool:
    """Whether this may be the name of an owner: 1 to 64 letters, digits, ``-``, ``_`` or ``.``."""
    letters = name.replace("-", "").replace("_", "").replace(".", "")
    return letters.isalnum() and len(name) <= _OWNER_LENGTH
