"""Validates the URLs of Redis servers and brokers when the settings are read.

Otherwise an option unknown to redis-py would fail at every connect, and a database that is not a number would silently
become 0.
"""

from __future__ import annotations

from urllib.parse import parse_qs, parse_qsl, urlsplit

SCHEMES = ("redis", "rediss", "unix")
OPTIONS = frozenset({"db", "username", "password", "socket_timeout", "socket_connect_timeout", "socket_keepalive"})
TLS_OPTIONS = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_password",
    }
)
BROKERS = frozenset(
    {
        *("amqp", "amqps", "pyamqp", "librabbitmq", "redis", "rediss", "memory", "filesystem", "mongodb", "sqs", "SQS"),
        *("azureservicebus", "azurestoragequeues", "confluentkafka", "kafka", "gcpubsub", "consul", "etcd", "pgmq"),
        *("pyro", "qpid", "slmq", "SLMQ", "sqla", "sqlalchemy", "zookeeper"),
    }
)
"""Schemes that kombu supports, except ``sentinel``: Spool has no settings for its options."""
_SEVERAL_SERVERS = ("sentinel", "cluster")


def check_redis_url(url: str) -> None:
    """Check the URL of a Redis server. Raises ``ValueError``, whose text contains no secret part of the URL."""
    scheme, colon, rest = url.partition("://")
    scheme = scheme.lower()
    if colon and any(name in scheme for name in _SEVERAL_SERVERS):
        raise ValueError(
            f"{scheme}:// is not supported: Spool needs the address of one primary (see docs/operations.md)"
        )
    if not colon or scheme not in SCHEMES:
        raise ValueError("must begin with redis://, rediss:// or unix://")
    authority = rest.split("?")[0].split("/")[0].rpartition("@")[2]
    if "," in authority:
        raise ValueError("lists of servers (Cluster, Sentinel) are not supported: name one primary")
    parts = urlsplit(url)
    if scheme == "unix":
        if not parts.path.strip("/"):
            raise ValueError("contains no socket path, as in unix:///run/redis.sock")
    else:
        _check_address(parts.netloc.rpartition("@")[2], parts.path)
    _check_options(parts.query, OPTIONS | TLS_OPTIONS if scheme == "rediss" else OPTIONS)


def check_broker_url(url: str) -> None:
    """Check the URL of Celery's broker, which need not be Redis. Raises ``ValueError`` as ``check_redis_url`` does."""
    scheme, colon, _ = url.partition("://")
    if scheme == "unix":
        raise ValueError("is not a broker URL: for a socket use redis+socket:///run/redis.sock?virtual_host=0")
    if not colon or scheme.partition("+")[0] not in BROKERS:
        raise ValueError("must begin with a broker's scheme, such as redis://, rediss://, redis+socket:// or amqp://")
    if scheme in ("redis", "rediss"):
        check_redis_url(url)


def _check_address(address: str, path: str) -> None:
    host, colon, port = address.rpartition(":")
    # Without brackets, the last group of an IPv6 address would be read as the port.
    if colon and not port.endswith("]") and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"the port {port!r} is not a number from 1 to 65535")
    if colon and ":" in host and not host.startswith("["):
        raise ValueError("an IPv6 address needs brackets, as in redis://[::1]:6379/0")
    if path.strip("/") and not path.strip("/").isdecimal():
        raise ValueError(f"the database {path.strip('/')!r} is not a number")


def _check_options(query: str, known: frozenset[str]) -> None:
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"the option {name!r} is unknown; known are {', '.join(sorted(known))}")
        if name == "db" and not value.isdecimal():
            raise ValueError(f"the option db={value!r} is not a number")
        if name.startswith("socket_") and name.endswith("timeout") and not _is_number(value):
            raise ValueError(f"the option {name}={value!r} is not a number of seconds")


def _is_number(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


def broker_url_from(redis_url: str) -> str:
    """``redis_url`` in kombu's form: ``unix://…?db=N`` becomes ``redis+socket://…?virtual_host=N``."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={database}"
