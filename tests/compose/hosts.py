"""Three hosts as network namespaces on one bridge, with the files of compose/three-hosts, behind a balancer."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spool.redis.link import RedisLink
from spool.run.programs import answers_ready, worker_argv
from spool.run.server_binary import find_server
from tests.stack import ROOT, Process, wait_for

FILES = ROOT / "compose" / "three-hosts"
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin")
NETWORK = "10.77.0"
BRIDGE = "spool-br"
PASSWORD = "s3cret"


def missing() -> str:
    """Why this machine cannot run three hosts; empty if it can."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and ip (Debian: iproute2)"
    if HAPROXY is None or not RABBITMQ.exists():
        return "haproxy and rabbitmq-server are not installed"
    if subprocess.run(["ip", "netns", "add", "spool-probe"], capture_output=True, check=False).returncode:
        return "this machine does not let root make network namespaces"
    ip("netns", "delete", "spool-probe")
    return ""


def ip(*arguments: str) -> None:
    """iproute2's command; fails if it does."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Host:
    """One host: Redis, Sentinel, RabbitMQ, HAProxy, a web and a worker, in a namespace of their own."""

    def __init__(self, number: int, directory: Path) -> None:
        self.namespace = f"spool-h{number}"
        self.address = f"{NETWORK}.{number}"
        self._veth = f"{self.namespace}-v"
        self._directory = directory / self.namespace
        self._directory.mkdir()
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("SPOOL_")}
        self._server = str(find_server(directory / "none").path)
        self._processes: list[Process] = []
        self.link = RedisLink(f"redis://:{PASSWORD}@{self.address}:6379/0", connections=1, timeout_s=2)

    def add(self) -> None:
        """Make the namespace and its link to the bridge."""
        ip("netns", "add", self.namespace)
        ip("link", "add", self._veth, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        ip("link", "set", self._veth, "master", BRIDGE, "up")
        ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "eth0", "up")
        ip("-n", self.namespace, "link", "set", "lo", "up")

    def start_servers(self) -> None:
        """Start everything but Spool."""
        self._start("redis", [self._server, self._redis()])
        self._start("sentinel", [self._server, self._copy("sentinel.conf", PASSWORD=PASSWORD), "--sentinel"])
        self._start("haproxy", [str(HAPROXY), "-db", "-f", self._copy("haproxy.cfg")], REDIS_PASSWORD=PASSWORD)
        self._start_rabbitmq()

    def start_spool(self, **settings: str) -> None:
        """Start a web and a worker, which reach Redis and RabbitMQ by the host's HAProxy."""
        environment = {
            "SPOOL_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:6380/0",
            "SPOOL_BROKER_URL": "amqp://guest:guest@127.0.0.1:5673//",
            "SPOOL_HOST": "0.0.0.0",
            "SPOOL_PORT": "8000",
            "SPOOL_WEB_PROCESSES": "1",
            "SPOOL_ALLOW_ANONYMOUS": "1",
            "SPOOL_TRUSTED_PROXIES": f"{NETWORK}.254",
            "PYTHONPATH": str(ROOT),
            "PROMETHEUS_MULTIPROC_DIR": str(self._directory),
            **settings,
        }
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "web/gunicorn.conf.py"), "web.app:create_app()"]
        self._start("web", gunicorn, **environment)
        self._start("worker", worker_argv("worker"), **environment)

    def accepts(self, port: int) -> bool:
        """Whether a program of this host accepts connections."""
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((self.address, port)) == 0

    def die(self) -> float:
        """As without power: the network is gone first, so that no connection is closed; then every process.

        Returns when the network was gone."""
        ip("-n", self.namespace, "link", "set", "eth0", "down")
        gone = time.time()
        for _ in range(2):  # a parent may have started one more meanwhile
            found = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
            for pid in found.stdout.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        for process in self._processes:
            process.close()
        return gone

    def remove(self) -> None:
        """End everything."""
        self.link.close()
        self.die()
        # Deleting the namespace alone would take its link along only some time later.
        ip("link", "delete", self._veth)
        ip("netns", "delete", self.namespace)

    def tail(self) -> str:
        """The last lines of each program."""
        found = []
        for process in self._processes:
            lines = process.output.read_text(errors="replace").splitlines()[-12:]
            found.append("\n".join([f"--- {self.namespace} {process.name}", *lines]))
        return "\n".join(found)

    def _copy(self, name: str, **changes: str) -> str:
        text = (FILES / name).read_text(encoding="utf-8")
        for old, new in {"/var/lib/redis": str(self._directory), **changes}.items():
            text = text.replace(old, new)
        path = self._directory / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def _redis(self) -> str:
        password = self._directory / "redis-password.conf"
        password.write_text(f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\n", encoding="utf-8")
        path = self._copy("redis.conf", **{"/etc/spool/redis-password.conf": str(password)})
        if self.address != f"{NETWORK}.1":
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(f"replicaof {NETWORK}.1 6379\n")
        return path

    def _start_rabbitmq(self) -> None:
        plugins, home = self._directory / "plugins", self._directory / "rabbitmq"
        plugins.write_text("[].", encoding="utf-8")
        home.mkdir()
        configuration = Path(self._copy("rabbitmq.conf"))
        # The test's user may connect from the other hosts.
        configuration.write_text(
            configuration.read_text(encoding="utf-8") + "loopback_users = none\n", encoding="utf-8"
        )
        names = {
            "NODENAME": "rabbit@localhost",
            "CONFIG_FILE": str(configuration),
            "ENABLED_PLUGINS_FILE": str(plugins),
            "MNESIA_BASE": str(home / "mnesia"),
            "LOG_BASE": str(home),
            "PID_FILE": str(home / "pid"),
            "SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        self._start("rabbitmq", [str(RABBITMQ)], HOME=str(home), **{f"RABBITMQ_{k}": v for k, v in names.items()})

    def _start(self, name: str, argv: list[str], **environment: str) -> None:
        inside = ["ip", "netns", "exec", self.namespace, *argv]
        process = Process(name, inside, {**self._environment, **environment}, self._directory)
        process.start()
        self._processes.append(process)


@contextmanager
def three_hosts(directory: Path, **settings: str) -> Iterator[tuple[list[Host], str]]:
    """The hosts, ready, and the address of the balancer before them. A failure shows what the programs said last."""
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("address", "add", f"{NETWORK}.254/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    hosts: list[Host] = []
    configuration = directory / "balancer.cfg"
    text = (FILES / "balancer.cfg").read_text(encoding="utf-8")
    configuration.write_text(text.replace("bind :8080", f"bind {NETWORK}.254:8080"), encoding="utf-8")
    balancer = Process("balancer", [str(HAPROXY), "-db", "-f", str(configuration)], dict(os.environ), directory)
    try:
        for number in (1, 2, 3):
            hosts.append(Host(number, directory))
            hosts[-1].add()
            hosts[-1].start_servers()
        for host in hosts:
            for port in (6379, 26379, 5672):
                wait_for(lambda host=host, port=port: host.accepts(port), f"{host.namespace} accepts {port}", 120)
        wait_for(lambda: b"connected_slaves:2" in hosts[0].link.call("INFO", "replication"), "both replicas follow")
        for host in hosts:
            host.start_spool(**settings)
        for host in hosts:
            wait_for(lambda host=host: host.accepts(8000), f"the web of {host.namespace} listens", 120)
        balancer.start()
        url = f"http://{NETWORK}.254:8080"
        wait_for(
            lambda: answers_ready(f"{NETWORK}.254", 8080, timeout_s=2), "the balancer leads to a web that is ready"
        )
        yield hosts, url
    except BaseException:
        print("\n".join(host.tail() for host in hosts))
        raise
    finally:
        balancer.close()
        for host in hosts:
            host.remove()
        ip("link", "delete", BRIDGE)
