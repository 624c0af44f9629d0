"""What an upstream says in an error, without Spool's credential and without where things are."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.backends.openai.scrub import READ_CHARACTERS, Scrubber

KEY = "sk-very-secret-0123456789"
URL = "https://operator:pa55word/x@gpu-7.corp.example:8001/v1".replace("/x", "%2Fx")
SCRUB = Scrubber(URL, KEY)


def encoded(data: str) -> str:
    return base64.b64encode(data.encode()).decode()


FORMS = {
    "plain": KEY,
    "header": f"Authorization: Bearer {KEY}",
    "upper case": KEY.upper(),
    "its beginning": KEY[:14],
    "its end": KEY[-12:],
    "masked": f"{KEY[:7]}********{KEY[-4:]}",
    "base64": encoded(KEY),
    "base64 of the header": encoded(f"Bearer {KEY}"),
    "base64 of a pair": encoded(f"user:{KEY}"),
    "base64 for URLs": base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
    "hexadecimal": KEY.encode().hex(),
    "percent": "".join(f"%{ord(c):02x}" for c in KEY),
    "percent twice": quote("".join(f"%{ord(c):02X}" for c in KEY), safe=""),
    "entities": "".join(f"&#{ord(c)};" for c in KEY),
    "JSON escapes": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "spaced": " ".join(KEY),
    "backwards": KEY[::-1],
    "password": "pa55word/x",
    "password in the URL": URL,
    "basic": f"Basic {encoded('operator:pa55word/x')}",
}


@pytest.mark.parametrize("form", FORMS)
def test_credential_in_any_form_does_not_show(form: str) -> None:
    """Neither the credential nor a part of it that would do, nor what decodes to it."""
    said = SCRUB(f"HTTP 401: you sent {FORMS[form]} today")
    assert FORMS[form] not in said
    for secret in (KEY, "pa55word"):
        assert not any(secret[at : at + 8].lower() in said.lower() for at in range(len(secret) - 7))
        assert encoded(secret)[:10] not in said
    assert "****" not in said


@pytest.mark.parametrize(
    "place",
    [
        "gpu-7.corp.example",
        "GPU-7.corp.example:8001",
        "http://10.0.3.7:8000/v1/chat",
        "10.0.3.7",
        "10.0.3.7:8000",
        "fe80::1",
        "[2001:db8::7]:443",
        "vllm.default.svc.cluster.local:80",
        "node-3.internal",
        "localhost:8000",
        "backend:8080",
        "db.example.com:5432",
        "unix://run/model.sock",
    ],
)
def test_place_does_not_show(place: str) -> None:
    """Hosts, addresses and URLs are replaced, whosever they are."""
    said = SCRUB(f"dial tcp {place} : connection refused")
    assert said == "dial tcp [host] : connection refused"
    assert place not in SCRUB(f"dial tcp {place}: connection refused")


def test_traceback_does_not_show() -> None:
    """What an upstream's program looks like inside is cut off."""
    said = SCRUB('boom\nTraceback (most recent call last):\n  File "/srv/app/x.py", line 3, in f\nKeyError: 1')
    assert said == "boom"


@pytest.mark.parametrize(
    "text",
    [
        "HTTP 400: This model's maximum context length is 4096 tokens (context_length_exceeded)",
        "HTTP 429: Rate limit reached for gpt-4.1 on tokens per min (TPM): Limit 30000, Used 29000. Try again in 1.2s.",
        "HTTP 400: Invalid value: 'messages[0].role' must be one of system, user at 12:30:05",
        "the model `org/small-1b` does not exist",
    ],
)
def test_plain_text_is_as_it_was(text: str) -> None:
    """What an upstream says of the prompt is what its caller needs."""
    assert SCRUB(text) == text


def test_upstream_without_a_key() -> None:
    """Without a credential there is none to look for."""
    assert Scrubber("http://127.0.0.1:8000/v1", "")("no such model") == "no such model"


@given(st.text(max_size=300))
def test_any_text_becomes_one_bounded_line(text: str) -> None:
    """Nothing breaks it."""
    said = SCRUB(text + KEY)
    assert KEY not in said
    assert "\n" not in said
    assert len(said) <= 4 * READ_CHARACTERS
