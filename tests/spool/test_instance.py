"""The names of instances."""

from __future__ import annotations

import socket

from spool.instance import web_instance, worker_instance
from spool.switches.switch import checked


def test_name_of_an_instance() -> None:
    """It has the host, the program or its given name, and a web's port; a switch can drain it."""
    host = worker_instance({}).removesuffix("/worker")
    assert host.startswith(socket.gethostname()[:5])
    assert worker_instance({"SPOOL_PROCESS_NAME": "worker 2"}) == f"{host}/worker-2"
    assert web_instance(8000, {}) == f"{host}/web:8000"
    assert checked("drain", web_instance(8000, {})).target == f"{host}/web:8000"
