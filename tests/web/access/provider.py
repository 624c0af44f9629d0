"""An identity provider: its keys, its key set, and the tokens that it signs."""

from __future__ import annotations

import base64
import time
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OURS, THEIRS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


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
