"""nginx + nchan: EventSource subscribers, publishers by POST. The module is the distribution's, so is its version."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.peers import programs
from bench.peers.paced import Producer
from bench.subject import Subject, SubjectUnavailable
from rig.process import Process, free_port, wait_for

_MODULE = "ngx_nchan_module.so"
_MODULE_DIRECTORIES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
_GET_IT = "as root: apt-get install nginx libnginx-mod-nchan"
# A channel holds what a job of the bench says, so that a reader may come late and still get all, as with Spool.
# The location's channel comes from $arg_id: a regular expression would cost more than what is measured.
_CONFIGURATION = """\
load_module {module};
{user}daemon off;
worker_processes {webs};
worker_rlimit_nofile {files};
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    nchan_shared_memory_size 1G;
    nchan_message_buffer_length 500;
    nchan_message_timeout 5m;
    server {{
        listen 127.0.0.1:{port} reuseport backlog=4096;
        nchan_channel_id $arg_id;
        location = /publish {{ nchan_publisher; }}
        location = /stream {{ nchan_subscriber eventsource; nchan_subscriber_first_message oldest; }}
    }}
}}
"""


class Nchan(Subject):
    """One nginx with a worker per web, all on one port, and ``producer`` with POST."""

    name = "nchan"
    what_it_lacks = (
        "no queue, no workers, no end when a producer dies, no durable log: "
        "the last 500 messages of a channel, in memory, gone with nginx"
    )
    needs_redis = False

    def __init__(self) -> None:
        self._nginx, self._module, self._port = "", Path(), 0
        self._server: Process | None = None
        self._producer: Producer | None = None
        self._workers: list[int] = []

    def install(self, directory: Path) -> None:  # noqa: ARG002 - the distribution has its own places
        """Nothing is fetched: that takes root."""
        self._nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or ""
        modules = [Path(where, _MODULE) for where in _MODULE_DIRECTORIES if Path(where, _MODULE).exists()]
        if not self._nginx or not modules:
            raise SubjectUnavailable(f"there is no {_MODULE if self._nginx else 'nginx'}; {_GET_IT}")
        self._module = modules[0]

    def start(self, directory: Path, redis_url: str, webs: int) -> None:  # noqa: ARG002 - it keeps all in its memory
        """nginx with a configuration and files of its own, then the producer."""
        self._port = free_port()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        text = _CONFIGURATION.format(
            module=self._module,
            user="user root;\n" if os.geteuid() == 0 else "",  # else the workers cannot enter the directory
            webs=webs,
            files=files,
            connections=min(files, 20_000),
            port=self._port,
        )
        (directory / "nginx.conf").write_text(text)
        argv = [self._nginx, "-p", str(directory), "-c", "nginx.conf", "-e", "stderr"]
        self._server = Process("nginx", argv, dict(os.environ), directory)
        programs.start(self._server, lambda: programs.listens(self._port))
        self._workers = wait_for(lambda: self._children(webs), f"{webs} workers of nginx")
        self._producer = Producer(directory, "nchan", str(self._port))
        self._producer.start_ready()

    def processes(self) -> Mapping[str, int]:
        """The workers, and the producer; nginx's master only waits for them."""
        assert self._producer is not None
        webs = {f"web{number}": pid for number, pid in enumerate(self._workers)}
        return {**webs, "producer": self._producer.pid}

    def prepare(self, jobs: int, rate: float, seconds: float, lead_s: float) -> Sequence[str]:
        """The kernel spreads the connections over the workers. A channel comes to be with its first subscriber."""
        assert self._producer is not None
        names = self._producer.begin(jobs, rate, seconds, lead_s)
        return [f"http://127.0.0.1:{self._port}/stream?id={name}" for name in names]

    def produced(self) -> int:
        """What the producer's answers say."""
        assert self._producer is not None
        return self._producer.produced()

    def stop(self) -> None:
        """SIGKILL: nothing of it is kept."""
        for process in (self._producer, self._server):
            if process is not None:
                process.close()
        self._server = self._producer = None

    def _children(self, webs: int) -> list[int]:
        assert self._server is not None
        pid = self._server.pid
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return children if len(children) == webs else []
