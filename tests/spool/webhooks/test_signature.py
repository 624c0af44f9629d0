"""Signatures: what the two public verifiers accept, rotation, and what shows of a secret."""

from __future__ import annotations

import time

import openai
import pytest

from spool.webhooks.signature import Secret, Secrets, decode, encode, headers, new_secret, rotated, valid

standardwebhooks = pytest.importorskip("standardwebhooks.webhooks")

BODY = b'{"id":"evt_1","object":"event","created_at":1,"type":"response.completed","data":{"id":"resp_j0-1"}}'
DAY_MS = 86_400_000


def test_public_verifiers_accept_a_delivery() -> None:
    """The package of Standard Webhooks and OpenAI's SDK verify a delivery with its secret, and refuse another one."""
    secret, now = new_secret(), int(time.time())
    sent = headers("msg_1", now, BODY, (secret,))
    assert standardwebhooks.Webhook(secret.text).verify(BODY, sent)["type"] == "response.completed"
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1:1")
    event = client.webhooks.unwrap(BODY, sent, secret=secret.text)
    assert event.type == "response.completed"
    assert event.data.id == "resp_j0-1"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(new_secret().text).verify(BODY, sent)


def test_both_secrets_verify_after_a_rotation() -> None:
    """For a day after a rotation, receivers with the old and with the new secret accept a delivery."""
    old = (new_secret(),)
    now_ms = int(time.time() * 1000)
    both = rotated(old, now_ms)
    sent = headers("msg_1", now_ms // 1000, BODY, valid(both, now_ms + DAY_MS - 1))
    for secret in (*old, both[0]):
        assert standardwebhooks.Webhook(secret.text).verify(BODY, sent)
    assert valid(both, now_ms + DAY_MS) == both[:1]


def test_rotations_are_bounded() -> None:
    """Many rotations leave three secrets, the newest first, and do not prolong an old one."""
    secrets: Secrets = (new_secret(),)
    for now_ms in (1, 2, 3, 4):
        secrets = rotated(secrets, now_ms)
    assert [each.until_ms for each in secrets] == [0, 4 + DAY_MS, 3 + DAY_MS]


def test_secrets_survive_redis() -> None:
    """Encoded secrets decode to the same; damaged ones are a ValueError that shows nothing of them."""
    secrets = rotated((new_secret(),), 7)
    assert decode(encode(secrets)) == secrets
    with pytest.raises(ValueError, match=r"^the stored secrets cannot be read$") as caught:
        decode(encode(secrets)[:-1])
    assert caught.value.__cause__ is None
    with pytest.raises(ValueError, match=r"^the stored secret is not base64$"):
        Secret("whsec_***").sign(b"")


def test_repr_shows_no_secret() -> None:
    """No representation contains the secret."""
    secret = new_secret()
    assert secret.text not in repr((secret,))
