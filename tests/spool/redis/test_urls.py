"""URLs of Redis servers: which are refused when the settings are read, and that no message shows a password."""

from __future__ import annotations

import pytest
from kombu.transport import TRANSPORT_ALIASES
from redis.connection import ConnectionPool

from spool.errors import SettingsError
from spool.redis.urls import BROKERS, OPTIONS, TLS_OPTIONS, check_redis_url
from spool.settings import Settings

PASSWORD = "hunter2secret"


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/0",
        f"redis://user:{PASSWORD}@[::1]:6379/15",
        f"rediss://:{PASSWORD},with,commas@redis.example:6380/2?ssl_ca_certs=/ca.pem&ssl_check_hostname=true",
        "unix:///run/redis.sock",
        f"unix://user@/run/redis.sock?db=3&password={PASSWORD}",
        "redis://localhost?db=2&socket_timeout=1.5",
    ],
)
def test_url_of_one_server(url: str) -> None:
    """One primary, over TCP, TLS or a socket, with a database and the options of redis-py that matter."""
    check_redis_url(url)
    ConnectionPool.from_url(url).make_connection()


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis+sentinel://{p}@a:26379,b:26379/mymaster", "redis+sentinel:// is not supported"),
        ("sentinel://:{p}@a:26379", "sentinel:// is not supported"),
        ("redis-cluster://:{p}@a:6379", "redis-cluster:// is not supported"),
        ("redis://:{p}@a:6379,b:6379/0", "lists of servers"),
        ("redis://:{p}@a:6379/0?no_such_option=1", "'no_such_option' is unknown"),
        ("redis://:{p}@a:6379/0?ssl_ca_certs=/x", "'ssl_ca_certs' is unknown"),
        ("redis://:{p}@a:6379/zero", "database 'zero' is not a number"),
        ("redis://:{p}@a:6379/-1", "database '-1' is not a number"),
        ("unix:///run/redis.sock?db=x", "db='x' is not a number"),
        ("redis://:{p}@a:port/0", "port 'port' is not a number"),
        ("redis://:{p}@a:70000/0", "port '70000' is not a number"),
        ("redis://:{p}@::1:6379/0", "needs brackets"),
        ("redis://:{p}@a/0?socket_timeout=long", "socket_timeout='long' is not a number"),
        ("unix://?db=1", "contains no socket path"),
        ("http://:{p}@a", "must begin with redis://"),
        ("localhost:6379", "must begin with redis://"),
    ],
)
def test_url_that_is_not_supported(url: str, named: str) -> None:
    """The variable and the problem are named, and the password is not, before anything connects."""
    for variable in ("SPOOL_REDIS_URL", "SPOOL_BROKER_URL"):
        if variable == "SPOOL_BROKER_URL" and not url.startswith("redis://"):
            continue
        with pytest.raises(SettingsError) as caught:
            Settings.read({variable: url.format(p=PASSWORD)})
        assert variable in str(caught.value)
        assert named in str(caught.value)
        assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["sentinel://a:26379", "redis-cluster://a", "broker", "unix:///run/redis.sock", "rabbit://a"]
)
def test_broker_that_is_not_supported(url: str) -> None:
    """Celery's broker is one server as well."""
    with pytest.raises(SettingsError, match="SPOOL_BROKER_URL"):
        Settings.read({"SPOOL_BROKER_URL": url})


@pytest.mark.parametrize("url", ["amqp://guest@localhost//", "redis+socket:///run/redis.sock?virtual_host=1"])
def test_broker_of_another_kind(url: str) -> None:
    """Other brokers of Celery's are left to it."""
    assert Settings.read({"SPOOL_BROKER_URL": url}).broker_url.get_secret_value() == url


def test_brokers_that_are_known() -> None:
    """All that kombu knows, but for Sentinel."""
    assert TRANSPORT_ALIASES.keys() - {"sentinel"} == BROKERS


def test_options_that_are_known() -> None:
    """Each option in the lists is one that redis-py's connections take."""
    values = {"db": "1", "ssl_cert_reqs": "none", "ssl_check_hostname": "false", "socket_keepalive": "true"}
    query = "&".join(f"{name}={values.get(name, '1')}" for name in sorted(OPTIONS | TLS_OPTIONS))
    ConnectionPool.from_url(f"rediss://localhost?{query}").make_connection()
