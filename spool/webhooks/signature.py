"""Signatures of Standard Webhooks 1.0 (https://www.standardwebhooks.com): secrets, and the headers of a delivery."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets as random_source
from dataclasses import dataclass, field

import orjson

PREFIX = "whsec_"
VALID_AFTER_ROTATION_S = 86_400
"""How long a replaced secret still signs, beside the new one."""
_KEY_BYTES = 32
_SECRETS_AT_MOST = 3


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret as its receiver has it: ``whsec_`` and a key in base64. It signs until ``until_ms``; 0: for ever."""

    text: str = field(repr=False)
    until_ms: int = 0

    def sign(self, content: bytes) -> str:
        """The signature ``v1,…`` of this content. Raises ``ValueError`` if the secret is damaged."""
        try:
            key = base64.b64decode(self.text.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            # Without the cause, whose message could show a part of the secret.
            raise ValueError("the stored secret is not base64") from None
        return f"v1,{base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()}"


Secrets = tuple[Secret, ...]
"""The secrets of one receiver, the newest first."""


def new_secret() -> Secret:
    """A new secret: 256 random bits."""
    return Secret(PREFIX + base64.b64encode(random_source.token_bytes(_KEY_BYTES)).decode())


def rotated(old: Secrets, now_ms: int) -> Secrets:
    """A new secret before the old ones. The newest of these signs for another day, and earlier ones until their end."""
    until = now_ms + VALID_AFTER_ROTATION_S * 1000
    kept = (Secret(each.text, min(each.until_ms or until, until)) for each in valid(old, now_ms))
    return (new_secret(), *kept)[:_SECRETS_AT_MOST]


def valid(all_secrets: Secrets, now_ms: int) -> Secrets:
    """The secrets that sign at this time."""
    return tuple(each for each in all_secrets if not each.until_ms or each.until_ms > now_ms)


def encode(all_secrets: Secrets) -> bytes:
    """The secrets as Redis stores them."""
    return orjson.dumps([{"secret": each.text, "until_ms": each.until_ms} for each in all_secrets])


def decode(raw: bytes) -> Secrets:
    """Stored secrets. Raises ``ValueError``, whose message shows nothing of them."""
    try:
        return tuple(Secret(str(each["secret"]), int(each["until_ms"])) for each in orjson.loads(raw))
    except (ValueError, TypeError, KeyError):
        raise ValueError("the stored secrets cannot be read") from None


def headers(message_id: str, timestamp_s: int, body: bytes, signing: Secrets) -> dict[str, str]:
    """The headers of one attempt to deliver ``body``, with a signature of each secret."""
    content = f"{message_id}.{timestamp_s}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(each.sign(content) for each in signing),
    }
