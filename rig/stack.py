"""A private stack of real processes: a Redis, N webs, M workers, on free ports and in a directory of their own.

Every part can be stopped, killed, paused and started again by itself; everything is gone at the end.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from rig.loopback import NO_CERTIFICATES
from rig.process import ROOT, Process, free_port, wait_for
from rig.proxy import Proxy
from rig.redis_server import Redis
from spool.run.programs import answers_ready, base_url, worker_argv


class Web(Process):
    """One gunicorn master with its processes, on a port of its own."""

    def __init__(self, name: str, env: dict[str, str], directory: Path) -> None:
        self.port = free_port()
        argv = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "web/gunicorn.conf.py"), "web.app:create_app()"]
        metrics = directory / f"{name}-metrics"
        metrics.mkdir()
        env = {**env, "SPOOL_PORT": str(self.port), "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
        super().__init__(name, argv, env, directory)
        self.host = env.get("SPOOL_HOST", "127.0.0.1").strip("[]")
        self.url = base_url(self.host, self.port)

    def is_ready(self) -> bool:
        """Whether it can serve."""
        return answers_ready(self.host, self.port, timeout_s=2)


class Stack:
    """The parts together. ``settings`` are SPOOL_ variables without the prefix.

    ``proxy_redis`` and ``proxy_broker`` put a proxy (``redis_proxy``, ``broker_proxy``) before Redis, for the programs
    alone: ``redis.link`` goes past it. With the first alone the broker is behind that proxy too; with the second alone
    jobs and logs go straight. ``worker_env`` is what single workers get on top, by number; ``argv`` and ``env`` of any
    process may also be changed before it is started again.
    """

    def __init__(
        self,
        directory: Path,
        *,
        webs: int = 2,
        workers: int = 2,
        concurrency: int = 50,
        aof: bool = False,
        redis_args: Sequence[str] = (),
        proxy_redis: bool = False,
        proxy_broker: bool = False,
        worker_env: Mapping[int, Mapping[str, str]] | None = None,
        **settings: Any,
    ) -> None:
        self.directory = directory
        self.redis = Redis(directory, aof=aof, extra=redis_args)
        self.redis_proxy = Proxy(self.redis.socket_path) if proxy_redis else None
        self.broker_proxy = Proxy(self.redis.socket_path) if proxy_broker else None
        env = {name: value for name, value in os.environ.items() if not name.startswith("SPOOL_")}
        defaults = {"LEASE_S": 2, "WEB_PROCESSES": 1, "DRAIN_S": 2, "WORKER_DRAIN_S": 2, "HEARTBEAT_S": 1}
        for name, value in {**defaults, **settings, "WORKER_CONCURRENCY": concurrency}.items():
            env[f"SPOOL_{name}"] = str(value)
        env["SPOOL_REDIS_URL"] = self.redis_proxy.redis_url if self.redis_proxy else self.redis.url
        if self.broker_proxy:
            env["SPOOL_BROKER_URL"] = self.broker_proxy.redis_url
        env["PYTHONPATH"] = str(ROOT)
        self.env = env
        self._clients: list[httpx.Client] = []
        self.webs = [Web(f"web{n}", env, directory) for n in range(webs)]
        self.workers = [self._worker(n) for n in range(workers)]
        for number, more in (worker_env or {}).items():
            self.workers[number].env = {**env, **more}

    def start(self) -> None:
        """Start everything and wait until it serves."""
        self.redis.start()
        wait_for(self.redis.is_ready, "Redis answers")
        for process in [*self.webs, *self.workers]:
            process.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until every web serves and every worker that runs takes jobs."""
        for web in self.webs:
            if web.running:
                wait_for(web.is_ready, f"{web.name} is ready")
        expected = sum(worker.running for worker in self.workers)
        wait_for(lambda: self.worker_count() >= expected, f"{expected} workers are ready")

    def worker_count(self) -> int:
        """How many workers say that they take jobs."""
        now_ms = time.time() * 1000
        return int(self.redis.link.call("ZCOUNT", "spool:{0}:workers", now_ms, "+inf"))

    def client(self, number: int = 0, **options: Any) -> httpx.Client:
        """An HTTP client of one of the webs; closed with the stack."""
        client = httpx.Client(
            base_url=self.webs[number].url, timeout=httpx.Timeout(30), **options, verify=NO_CERTIFICATES
        )
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Everything is gone."""
        for client in self._clients:
            client.close()
        for process in [*self.webs, *self.workers, self.redis]:
            process.close()
        for proxy in (self.redis_proxy, self.broker_proxy):
            if proxy is not None:
                proxy.close()
        self.redis.link.close()

    def _worker(self, number: int) -> Process:
        return Process(f"worker{number}", worker_argv(f"worker{number}"), self.env, self.directory)


@contextmanager
def running_stack(directory: Path, **options: Any) -> Iterator[Stack]:
    """A stack for the length of a ``with``. A failure shows the last lines of every program's output."""
    with closing_stack(Stack(directory, **options)) as stack:
        stack.start()
        yield stack


@contextmanager
def closing_stack(stack: Stack) -> Iterator[Stack]:
    """The same for a stack that the block starts."""
    try:
        yield stack
    except BaseException:
        for process in [*stack.webs, *stack.workers]:
            if process.output.exists():
                tail = process.output.read_text(errors="replace").splitlines()[-15:]
                print(f"--- {process.name}\n" + "\n".join(tail))
        raise
    finally:
        stack.close()
