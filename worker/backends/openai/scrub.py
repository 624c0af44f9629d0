"""Removes Spool's credential and network addresses from an upstream's texts.

Error texts reach callers and logs. An upstream may repeat the request in them, plain or encoded, and proxies name the
servers behind them. Everything that looks like an address is replaced. If a text reveals part of the credential only
after decoding, the whole text is withheld.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

READ_CHARACTERS = 2000
"""Length to which a text is cut."""
_PART = 8
"""This many consecutive characters of a credential count as the whole credential."""
_TOO_SHORT = 4
"""Shorter credentials are not secret, and occur in many words."""
_SECRET, _PLACE, _WITHHELD = "[key]", "[host]", "[text withheld: it repeats the key]"

_TRACEBACK = re.compile(r"Traceback \(most recent call last\).*|\s+File \"[^\"]*\", line \d+.*", re.DOTALL)
_AUTHORIZATION = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=_.~-]{4,}+")
_URL = re.compile(r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>)\]}]*[^\s\"'<>)\]}.,:;]")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?(?![\d.]*\d)")
_MASKED = re.compile(r"[^\s*]*\*{3,}[^\s,;]*")
_IPV6 = re.compile(
    r"\[?(?<![\w:])(?=[0-9A-Fa-f:]{0,40}::|(?:[0-9A-Fa-f]{1,4}:){4})(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?:%\w+)?(?![\w:])\]?(?::\d{1,5})?"
)
_HOST = re.compile(
    r"(?i)(?<![\w.-])(?:"
    r"[a-z0-9_](?:[a-z0-9_-]{0,62}\.)+[a-z0-9-]{1,62}:\d{2,5}"
    r"|[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*"
    r"\.(?:local|localdomain|internal|intranet|lan|corp|home|private|svc|cluster|consul|docker)(?::\d{1,5})?"
    r"|localhost(?::\d{1,5})?"
    r"|[a-z][a-z0-9_-]{1,62}:\d{4,5}"
    r")(?![\w-])"
)
_ENCODED = re.compile(r"[A-Za-z0-9+/_=-]{12,}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){8,}")


class Scrubber:
    """Cleans the texts of the upstream at ``url``, which was called with ``api_key``."""

    def __init__(self, url: str, api_key: str) -> None:
        self._hosts = _hosts(url)
        secrets = {api_key.strip(), api_key}
        with suppress(ValueError):
            parts = urlsplit(url)
            user, password = unquote(parts.username or ""), unquote(parts.password or "")
            secrets |= {password, parts.password or ""} | ({user} if len(user) >= _PART else set())
            secrets.add(base64.b64encode(f"{user}:{password}".encode()).decode() if password else "")
        forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret, safe=""))}
        self._whole = sorted((form for form in forms if len(form) >= _TOO_SHORT), key=len, reverse=True)
        self._parts = {
            secret[at : at + _PART].lower() for secret in secrets for at in range(max(0, len(secret) - _PART + 1))
        }

    def __call__(self, text: str) -> str:
        """The cleaned text in one line, at most ``READ_CHARACTERS`` of it."""
        text = _TRACEBACK.sub(" ", text[:READ_CHARACTERS])
        for form in self._whole:
            text = text.replace(form, _SECRET)
        text = _MASKED.sub(_SECRET, _AUTHORIZATION.sub(rf"\1 {_SECRET}", self._without_parts(text)))
        if any(self._shows(decoded) for decoded in _decoded(text)):
            return _WITHHELD
        for pattern in (_URL, *self._hosts, _IPV4, _IPV6, _HOST):
            text = pattern.sub(_PLACE, text)
        return " ".join(text.split())

    def _shows(self, text: str) -> bool:
        small = text.lower()
        return any(part in small for part in self._parts) or any(form in text for form in self._whole)

    def _without_parts(self, text: str) -> str:
        """The text with every run of characters that occurs in a secret replaced."""
        small = text.lower()
        if len(small) != len(text) or not any(part in small for part in self._parts):
            return text
        hit = bytearray(len(text))
        for at in range(len(text) - _PART + 1):
            if small[at : at + _PART] in self._parts:
                hit[at : at + _PART] = b"\x01" * _PART
        return re.sub(r"\x00+", _SECRET, "".join("\x00" if is_hit else c for c, is_hit in zip(text, hit, strict=True)))


def _hosts(url: str) -> list[re.Pattern[str]]:
    """Patterns for the upstream's host, with or without its port."""
    try:
        parts = urlsplit(url)
        names = {name for name in (parts.hostname, parts.netloc.rpartition("@")[2]) if name}
    except ValueError:
        return []
    ordered = sorted(names, key=len, reverse=True)
    return [re.compile(rf"(?i)(?<![\w-]){re.escape(name)}(?::\d{{1,5}})?(?![\w-])") for name in ordered]


def _decoded(text: str) -> Iterator[str]:
    """The possible decodings of the text."""
    plain = unquote_plus(unquote(html.unescape(text)))
    yield plain
    yield re.sub(r"\\u00([0-9a-fA-F]{2})|\\x([0-9a-fA-F]{2})", lambda m: chr(int(m[1] or m[2], 16)), plain)
    yield re.sub(r"\s+", "", plain)
    yield plain[::-1]
    for token in _ENCODED.findall(plain):
        for start in range(4):
            with suppress(ValueError):
                part = token[start:].replace("-", "+").replace("_", "/").rstrip("=")
                yield base64.b64decode(part[: len(part) // 4 * 4]).decode("latin-1")
    for token in _HEX.findall(plain):
        yield bytes.fromhex(token).decode("latin-1")
