"""The broker's URL as kombu understands it, with the meaning that redis-py gives the URL of a Redis.

kombu on its own connects to ``rediss://`` without looking at the certificate, and so gives the password to any server;
and it does not know redis-py's options.
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
        # Several brokers, of which kombu takes the next when one is away: no options of redis-py's.
        return url, _CHECKED if "rediss://" in url else None
    try:
        parts = urlsplit(url)
        options: dict[str, Any] = _options(url) if parts.scheme in ("redis", "rediss") else {}
    except ValueError:
        # Not its text, which may quote a part of the password.
        raise SettingsError(f"{_WHERE} cannot be read; is there a character in it to be percent-encoded?") from None
    if parts.scheme == "amqps":
        # py-amqp checks that the certificate is signed; for whom, only where it is given a name.
        return url, {"server_hostname": parts.hostname}
    if not options:
        url = broker_url_from(url)
        if parts.scheme != "unix" and parts.scheme.partition("+")[0] not in TRANSPORT_ALIASES:
            raise SettingsError(f"{_WHERE} begins with {parts.scheme}://, which is no broker that Celery knows")
        return url, None
    plain = f"{parts.scheme}://{_userinfo(options)}{_address(parts.hostname, options)}/{options.get('db', 0)}"
    if parts.scheme == "redis":
        return plain, None
    said = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return plain, {**_CHECKED, **said}


def _options(url: str) -> dict[str, Any]:
    return dict(parse_url(url))  # type: ignore[no-untyped-call]


def _userinfo(options: dict[str, Any]) -> str:
    user, password = options.get("username") or "", options.get("password") or ""
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""


def _address(host: str | None, options: dict[str, Any]) -> str:
    host = host or "localhost"
    return f"{f'[{host}]' if ':' in host else host}:{options.get('port', 6379)}"
