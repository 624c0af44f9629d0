"""Translates the broker's URL for kombu, with redis-py's semantics for the URL of a Redis.

By default kombu connects to ``rediss://`` without a check of the certificate, so it sends the password to any server.
It also does not know redis-py's options.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from kombu.transport import TRANSPORT_ALIASES
from redis.connection import parse_url

from spool.errors import SettingsError
from spool.redis.urls import broker_url_from

_CHECKED: dict[str, Any] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
_WHERE = "the broker's URL (SPOOL_BROKER_URL, or SPOOL_REDIS_URL)"


def broker_connection(url: str) -> tuple[str, dict[str, Any] | None]:
    """The URL for kombu, and its TLS options; None without TLS. With TLS the certificate must be valid for the host,
    unless the URL's own ``ssl_`` options say otherwise. Raises ``SettingsError``."""
    if ";" in url:
        # Several brokers, between which kombu fails over: without redis-py's options.
        return url, _CHECKED if "rediss://" in url else None
    try:
        parts = urlsplit(url)
        options: dict[str, Any] = _options(url) if parts.scheme in ("redis", "rediss") else {}
    except ValueError:
        # Without its text, which may quote a part of the password.
        raise SettingsError(f"{_WHERE} is malformed; does a character need percent-encoding?") from None
    if parts.scheme == "amqps":
        # py-amqp checks the certificate's signature; it checks the host only if it gets a name.
        return url, {"server_hostname": parts.hostname}
    if not options:
        url = broker_url_from(url)
        if parts.scheme != "unix" and parts.scheme.partition("+")[0] not in TRANSPORT_ALIASES:
            raise SettingsError(f"{_WHERE} begins with {parts.scheme}://, which Celery does not support as a broker")
        return url, None
    plain = f"{parts.scheme}://{_userinfo(options)}{_address(parts.hostname, options)}/{options.get('db', 0)}"
    if parts.scheme == "redis":
        return plain, None
    explicit = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return plain, {**_CHECKED, **explicit}


def _options(url: str) -> dict[str, Any]:
    return dict(parse_url(url))  # type: ignore[no-untyped-call]


def _userinfo(options: dict[str, Any]) -> str:
    user, password = options.get("username") or "", options.get("password") or ""
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""


def _address(host: str | None, options: dict[str, Any]) -> str:
    host = host or "localhost"
    return f"{f'[{host}]' if ':' in host else host}:{options.get('port', 6379)}"
