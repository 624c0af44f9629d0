"""``POST /demo/kill/PART``: SIGKILL for a process of a local demo, so that a reader sees what outlives it.

The route exists only where ``spool run`` says so (``spool.settings.in_local_demo``): on loopback, with the model
``demo``, without keys, and with the embedded Redis server. It kills only processes that this server's Redis names.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from typing import Any

import gevent
from flask import Blueprint, Response, request
from typing_extensions import TypedDict

from spool.keys import HOME
from spool.keys import job as job_key
from web import auth, origin_check
from web.arguments import Query, query
from web.auth import scope
from web.contract import Answer, Contract, json_content
from web.json_response import json_response
from web.problems import Problem
from web.services import state

blueprint = Blueprint("demo", __name__)

_AFTER_THE_ANSWER_S = 0.2
_OF_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")
_PROCESS_ID = re.compile(rb"^process_id:(\d+)\r?$", re.MULTILINE)


class Killing(Query):
    """Whose worker to kill."""

    job: str = ""


class Killed(TypedDict):
    """The process that was killed."""

    part: str
    process: int


_KILLED = json_content(Killed, lambda: {"part": "worker", "process": 4321})


@blueprint.post("/demo/kill/<part>")
@scope("jobs:write")
@Contract(query=Killing, answers={200: Answer("The process that is killed.", [_KILLED])}, errors=[404, 409, 410, 503])
def kill(part: str) -> Response:
    """Kill the job's ``worker``, this ``web`` process, or ``redis``, in a local demo."""
    origin_check.refuse_all_but_own()
    _refuse_proxied()
    if part == "web":
        gevent.spawn_later(_AFTER_THE_ANSWER_S, os.kill, os.getpid(), signal.SIGKILL)
        return json_response({"part": part, "process": os.getpid()})
    if part not in ("worker", "redis"):
        raise Problem(404, "Not found", "the parts are worker, web and redis")
    process = _worker_of(query(Killing).job) if part == "worker" else _redis_process()
    if process is None or not _killed(process):
        raise Problem(409, "Not running", f"no {part} process to kill: the job is not running here")
    return json_response({"part": part, "process": process})


@blueprint.get("/demo/worker")
@scope("jobs:read")
@Contract(
    query=Killing, answers={200: Answer("The process that runs the job.", [_KILLED])}, errors=[404, 409, 410, 503]
)
def worker() -> Response:
    """The process that runs the job, in a local demo."""
    process = _worker_of(query(Killing).job)
    if process is None:
        raise Problem(409, "Not running", "the job is not running here")
    return json_response({"part": "worker", "process": process})


def _refuse_proxied() -> None:
    """Raise a 403 ``Problem`` for a request that a proxy or a tunnel passes on: it may come from another machine."""
    if any(name in request.headers for name in _OF_PROXIES):
        raise Problem(403, "Not allowed", "processes can be killed from this machine alone, without a proxy")


def _killed(process: int) -> bool:
    """Kill the process. False: it has ended, or is no process of this user."""
    try:
        os.kill(process, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _worker_of(job_id: str) -> int | None:
    """The worker process of a running job of the caller, if the worker has been heard of: the process of one that died
    before this machine started again may be any other program now."""
    job = state().store.look(job_id, auth.owner())
    shard = state().shards.of_job(job.id)
    name: Any = shard.link.call("HGET", job_key(job.id), "worker")
    until, (seconds, _) = shard.link.pipeline([("ZSCORE", shard.key("workers"), name or b""), ("TIME",)])
    if until is None or float(until) < int(seconds) * 1000:
        return None
    host, _, rest = (name or b"").decode(errors="replace").rpartition(":")[0].rpartition(":")
    return int(rest) if host == socket.gethostname() and rest.isdigit() and not job.ended else None


def _redis_process() -> int | None:
    """The process of the Redis server, as it says itself."""
    (home,) = [shard for shard in state().shards if shard.number == HOME]
    found = _PROCESS_ID.search(home.link.call("INFO", "server"))
    return int(found[1]) if found else None
