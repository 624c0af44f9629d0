"""The broker's URL: what kombu makes of it, and that a password is given to no server but the right one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from spool.bell import celery_app
from spool.broker import broker_connection
from spool.errors import SettingsError
from spool.redis.link import RedisLink
from tests.stack import Redis
from tests.tls import certificate, tls_proxy

CHECKED = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}


@pytest.mark.parametrize(
    ("url", "plain", "tls"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379/0", None),
        ("redis://:p%40ss@[::1]:7?db=3&socket_timeout=2", "redis://:p%40ss@[::1]:7/3", None),
        ("rediss://u:p@host:1/2", "rediss://u:p@host:1/2", CHECKED),
        ("rediss://host?ssl_ca_certs=/ca.pem", "rediss://host:6379/0", {**CHECKED, "ssl_ca_certs": "/ca.pem"}),
        (
            "rediss://host?ssl_cert_reqs=none&ssl_check_hostname=false",
            "rediss://host:6379/0",
            {"ssl_cert_reqs": "none", "ssl_check_hostname": False},
        ),
        ("rediss://a;rediss://b", "rediss://a;rediss://b", CHECKED),
        ("unix:///run/r.sock?db=2", "redis+socket:///run/r.sock?virtual_host=2", None),
        ("redis+socket:///run/r.sock", "redis+socket:///run/r.sock", None),
        ("amqp://u:p@host//", "amqp://u:p@host//", None),
        ("amqps://u:p@host//", "amqps://u:p@host//", {"server_hostname": "host"}),
    ],
)
def test_url_as_kombu_understands_it(url: str, plain: str, tls: dict[str, Any] | None) -> None:
    """kombu gets the same place, database and TLS options as redis-py would; a certificate is checked by default."""
    assert broker_connection(url) == (plain, tls)


@pytest.mark.parametrize("url", ["http://u:hunter2@h", "redis://:hunter2/x@h", "rediss://:hunter2@h?ssl_min_version=x"])
def test_url_that_cannot_be_used(url: str) -> None:
    """The error names the variable, and shows no part of the password."""
    with pytest.raises(SettingsError, match="SPOOL_BROKER_URL") as caught:
        broker_connection(url)
    assert "hunter2" not in str(caught.value)


def ring(app: Celery) -> None:
    """One message over kombu's connection."""
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)
        connection.default_channel.client.ping()


def ask(url: str) -> None:
    """One command over Spool's own connection."""
    with closing(RedisLink(url, timeout_s=2)) as link:
        link.call("PING")


CLIENTS: list[Callable[[str], None]] = [lambda url: ring(celery_app(url)), ask]


@pytest.mark.parametrize("connect", CLIENTS, ids=["broker", "store"])
@pytest.mark.parametrize("name", ["IP:127.0.0.1", "DNS:other.example"])
def test_tls_server_that_cannot_prove_itself(
    redis: Redis, directory: Path, name: str, connect: Callable[[str], None]
) -> None:
    """The password is given to no server whose certificate is not trusted, or is another host's."""
    cert, key = certificate(directory, name)
    options = f"?ssl_ca_certs={cert}" if name.startswith("DNS") else ""
    with tls_proxy(redis.socket_path, cert, key) as proxy:
        with pytest.raises(Exception, match=r"(?i)certificate|reached"):
            connect(f"rediss://:hunter2@127.0.0.1:{proxy.port}/0{options}")
        assert proxy.heard == b""
        assert proxy.refused > 0


@pytest.mark.parametrize("connect", CLIENTS, ids=["broker", "store"])
def test_tls_server_that_proves_itself(redis: Redis, directory: Path, connect: Callable[[str], None]) -> None:
    """With the certificate of its authority the server is used, by the broker's side as by the store's."""
    cert, key = certificate(directory)
    with tls_proxy(redis.socket_path, cert, key) as proxy:
        connect(f"rediss://127.0.0.1:{proxy.port}/0?ssl_ca_certs={cert}")
        assert b"PING" in proxy.heard


def test_tls_server_that_need_not_prove_itself(redis: Redis, directory: Path) -> None:
    """Whoever says so in the URL connects without a check."""
    cert, key = certificate(directory)
    with tls_proxy(redis.socket_path, cert, key) as proxy:
        for connect in CLIENTS:
            connect(f"rediss://127.0.0.1:{proxy.port}/0?ssl_cert_reqs=none&ssl_check_hostname=false")
        assert proxy.heard


def test_tls_error_is_one_that_the_bell_waits_out(redis: Redis, directory: Path) -> None:
    """A certificate that is not trusted is an outage of the broker's, and breaks nothing."""
    cert, key = certificate(directory)
    with tls_proxy(redis.socket_path, cert, key) as proxy, pytest.raises(OperationalError):
        ring(celery_app(f"rediss://127.0.0.1:{proxy.port}/0"))
