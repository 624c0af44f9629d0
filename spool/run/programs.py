"""The programs of a running Spool: their commands, their environment, their order."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from spool.deadline import Deadline
from spool.errors import SettingsError
from spool.redis.urls import broker_url_from
from spool.run.embedded import EmbeddedServer
from spool.run.process import Program
from spool.settings import LOCAL_DEMO, RunSettings, Settings, WebSettings, is_loopback

_WEB_SPARE_S = 5.0
"""Extra time after the web's drain time before it is killed."""

_WORKER_SPARE_S = 15.0
"""The same for a worker, which hands back unfinished jobs and waits for Celery's last poll of its queue."""

_LOADING_S = 300.0
"""Loading a large append-only file takes about a second per 200 MB."""


def stages(settings: RunSettings, server: EmbeddedServer | None, port: int, metrics: str) -> list[list[Program]]:
    """The supervisor's stages: the embedded server, if there is one, then web and workers together. ``metrics`` is the
    directory of their counts."""
    env = environment(settings, server.url if server else settings.redis_url.get_secret_value())
    env["SPOOL_PORT"] = str(port)
    env["SPOOL_METRICS_PORT"] = "0"  # the web answers for all processes
    env.setdefault("PROMETHEUS_MULTIPROC_DIR", metrics)
    env["SPOOL_DATA_DIR"] = str(settings.data_dir.absolute())
    env[LOCAL_DEMO] = "1" if is_local_demo(settings, embedded=server is not None) else "0"
    env.setdefault("SPOOL_LOG_FORMAT", "text")  # for a terminal; containers and units run the single programs
    web = Program(
        name="web",
        argv=web_argv(),
        env={**env, "SPOOL_PROCESS_NAME": "web"},
        ready=lambda: answers_ready(settings.host, port),
        stop_s=settings.drain_s + _WEB_SPARE_S,
        serves_at=(_local(settings.host), port),
    )
    workers = [
        Program(
            name=f"worker{number}",
            argv=worker_argv(f"worker{number}"),
            env={**env, "SPOOL_PROCESS_NAME": f"worker{number}"},
            stop_s=settings.worker_drain_s + _WORKER_SPARE_S,
            # Celery takes 2 to 3 s to stop when idle, and hangs on a SIGQUIT after SIGTERM or while it starts.
            hurry_signal=signal.SIGTERM,
            hurry_s=4.0,
            orphan_signal=signal.SIGKILL,
        )
        for number in range(1, settings.worker_processes + 1)
    ]
    return [*([[_redis(server)]] if server else []), [web, *workers]]


def is_local_demo(settings: RunSettings, *, embedded: bool) -> bool:
    """Whether the console may offer to kill processes: everything runs on this machine, for its user alone."""
    # SPOOL_ALLOW_ANONYMOUS turns off the check of the host name, so that any page could reach the buttons.
    is_open = settings.needs_credential() or settings.allow_anonymous
    return embedded and settings.demo and is_loopback(settings.host) and not is_open


def _redis(server: EmbeddedServer) -> Program:
    return Program(
        name="redis",
        argv=server.argv,
        ready=server.is_ready,
        start_s=_LOADING_S,
        stop_s=30.0,
        # Always SIGTERM, on which it writes and syncs its append-only file.
        hurry_signal=signal.SIGTERM,
        hurry_s=10.0,
        orphan_signal=signal.SIGTERM,
    )


def web_argv() -> list[str]:
    """The command of the web: a gunicorn master, configured by the package's own file."""
    # find_spec, not importlib.resources, which would import the package: this process must not load web.
    spec = importlib.util.find_spec("web")
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError("the package 'web' is not installed; reinstall Spool")
    config = Path(next(iter(spec.submodule_search_locations))) / "gunicorn.conf.py"
    return [sys.executable, "-m", "gunicorn", "-c", str(config), "web.app:create_app()"]


def worker_argv(name: str = "worker") -> list[str]:
    """The command of one worker process; its settings are in the environment."""
    return [sys.executable, "-m", "worker", "--name", name]


def environment(settings: Settings, redis_url: str) -> dict[str, str]:
    """The environment of a program that uses the Redis at ``redis_url``."""
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",  # output appears at once, although it goes into a pipe
        "SPOOL_REDIS_URL": redis_url,
        "SPOOL_BROKER_URL": settings.broker_url.get_secret_value() or broker_url_from(redis_url),
    }


def redis_url_of(settings: Settings) -> str:
    """The Redis for a single program: that of the settings, else that of a ``spool run`` on this data directory."""
    url = settings.redis_url.get_secret_value()
    if url:
        return url
    server = EmbeddedServer(settings.data_dir)
    if server.is_ready():
        return server.url
    raise SettingsError(
        "SPOOL_REDIS_URL is not set, and no `spool run` serves "
        f"SPOOL_DATA_DIR={str(settings.data_dir)!r} (it would provide an embedded Redis); set it, or start `spool run`"
    )


def free_port(settings: WebSettings, wait_s: float = 0.0) -> int:
    """The port to listen on, checked to be free; for port 0, any free port. Raises ``SettingsError`` if it is taken.

    ``wait_s``: how long to wait for the port if an earlier Spool may still be exiting.
    """
    deadline = Deadline.after(wait_s)
    while True:
        try:
            return _bind(settings.host, settings.port)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or deadline.passed:
                raise _no_port(settings, exc) from exc
        time.sleep(0.05)


def _bind(host: str, port: int) -> int:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
        probe.bind(address)
        return int(probe.getsockname()[1])


def _no_port(settings: WebSettings, exc: OSError) -> SettingsError:
    if exc.errno == errno.EADDRINUSE:
        return SettingsError(
            f"SPOOL_PORT={settings.port} is taken on {settings.host}; stop that program, or set another port"
        )
    if exc.errno == errno.EACCES:
        return SettingsError(f"SPOOL_PORT={settings.port}: permission denied; use a port above 1023")
    return SettingsError(f"SPOOL_HOST={settings.host!r}: {exc.strerror}")


def base_url(host: str, port: int) -> str:
    """The URL at which a client on this machine reaches a web that listens on ``host``."""
    host = _local(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _local(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def answers_ready(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether ``GET /readyz`` answers 200."""
    # No proxy: http_proxy in the environment must not apply to a request to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{base_url(host, port)}/readyz", timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, urllib.error.URLError):
        return False


def _credential(settings: RunSettings) -> str:
    """What a caller shows, and where it comes from; empty if none is needed."""
    if settings.api_keys.get_secret_value():
        return "a secret of SPOOL_API_KEYS"
    if settings.api_keys_file is not None:
        return "a secret of SPOOL_API_KEYS_FILE"
    if settings.has_jwts():
        return "a token of your identity provider"
    # Also behind a proxy that names owners: this request does not come through it.
    return "a key made by: spool keys create --owner NAME" if settings.needs_credential() else ""


def banner(settings: RunSettings, port: int, embedded: bool) -> str:
    """The text that ``spool run`` prints when it is ready."""
    url = base_url(settings.host, port)
    credential = _credential(settings)
    key = f" -H 'Authorization: Bearer <{credential}>'" if credential else ""
    files = f"{settings.data_dir.absolute()}" if embedded else "in the Redis of SPOOL_REDIS_URL"
    return (
        f"\nSpool is ready:  {url}\n"
        f"  try    curl -N {url}/jobs{key} -H 'Accept: text/event-stream' "
        """-H 'Content-Type: application/json' -d '{"prompt": "Hello"}'\n"""
        f"  data   {files}\n"
        "  stop   Ctrl-C\n"
    )
