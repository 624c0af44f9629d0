"""Static keys: ``owner=secret,…``, the value of ``SPOOL_API_KEYS``, and the lines of ``SPOOL_API_KEYS_FILE``.

``owner:scope+scope=secret`` limits a key to scopes, or adds ``admin``: ``alice:*+admin=…``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spool.access.caller import BY_DEFAULT, Caller, Kind, is_owner, parse_scopes

_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StaticKey:
    """One key of the settings."""

    owner: str
    secret: str = field(repr=False)
    scopes: frozenset[str] = BY_DEFAULT


def parse_static_keys(text: str) -> tuple[StaticKey, ...]:
    """The keys of a setting or a file: pairs, divided by commas or lines. Raises ``ValueError``, which contains no
    secret."""
    pairs = [pair.strip() for pair in text.replace("\n", ",").split(",")]
    keys = tuple(_parse(number, pair) for number, pair in enumerate(filter(None, pairs), 1))
    seen: set[str] = set()
    for number, key in enumerate(keys, 1):
        if key.secret in seen:
            raise ValueError(f"pair {number}: duplicate secret")
        seen.add(key.secret)
    return keys


def _parse(number: int, pair: str) -> StaticKey:
    named, equals, secret = pair.partition("=")
    owner, colon, scopes = named.partition(":")
    if not equals or not owner or len(secret) < 8:
        raise ValueError(f"pair {number} is not owner=secret with a secret of at least 8 characters")
    if not all(" " <= character <= "~" for character in secret):
        raise ValueError(f"pair {number}: a secret must be printable ASCII, because it is sent in a header")
    if not is_owner(owner):
        raise ValueError(f"pair {number}: an owner must be 1 to 64 letters, digits, '-', '_' or '.'")
    try:
        return StaticKey(owner, secret, parse_scopes(scopes) if colon else BY_DEFAULT)
    except ValueError as exc:
        raise ValueError(f"pair {number}: {exc}") from None


def read_static_keys(path: Path) -> tuple[StaticKey, ...]:
    """The keys of a file. A line that begins with ``#`` is a comment. Raises ``ValueError``, which contains no secret,
    and ``OSError``."""
    with path.open("rb") as file:
        data = file.read(_FILE_BYTES + 1)
    if len(data) > _FILE_BYTES:
        raise ValueError(f"the file is larger than {_FILE_BYTES} bytes")
    lines = data.decode("utf-8").splitlines()
    return parse_static_keys("\n".join(line for line in lines if not line.lstrip().startswith("#")))


def digest_of(secret: bytes) -> bytes:
    """The digest by which a secret is found: the time of a comparison then tells nothing about the secret."""
    return hashlib.sha256(secret).digest()


def callers_by_digest(keys: tuple[StaticKey, ...]) -> Mapping[bytes, Caller]:
    """The caller of each key, by the digest of its secret. Its id is ``static-OWNER``, with a number from the owner's
    second key on: an id must not depend on the secret, which may be short enough to guess from a digest."""
    of_owner: Counter[str] = Counter()
    callers: dict[bytes, Caller] = {}
    for key in keys:
        digest = digest_of(key.secret.encode())
        if digest in callers:
            continue
        of_owner[key.owner] += 1
        number = of_owner[key.owner]
        callers[digest] = Caller(
            owner=key.owner,
            scopes=key.scopes,
            kind=Kind.STATIC,
            credential=f"static-{key.owner}" + (f"-{number}" if number > 1 else ""),
            fingerprint=digest,
        )
    return callers
