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
from flask import Blueprint, Response
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
    if part == "web":
        gevent.spawn_later(_AFTER_THE_ANSWER_S, os.kill, os.getpid(), signal.SIGKILL)
        return json_response({"part": part, "process": os.getpid()})
    if part not in ("worker", "redis"):
        raise Problem(404, "Not found", "the parts are worker, web and redis")
    process = _worker_of(query(Killing).job) if part == "worker" else _redis_process()
    if process is None:
        raise Problem(409, "Not running", f"no {part} process to kill: the job is not running here")
    os.kill(process, signal.SIGKILL)
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


def _worker_of(job_id: str) -> int | None:
    """The worker process of a running job of the caller."""
    job = state().store.look(job_id, auth.owner())
    name: Any = state().shards.of_job(job.id).link.call("HGET", job_key(job.id), "worker")
    host, _, rest = (name or b"").decode(errors="replace").rpartition(":")[0].rpartition(":")
    return int(rest) if host == socket.gethostname() and rest.isdigit() and not job.ended else None


def _redis_process() -> int | None:
    """The process of the Redis server, as it says itself."""
    (home,) = [shard for shard in state().shards if shard.number == HOME]
    found = _PROCESS_ID.search(home.link.call("INFO", "server"))
    return int(found[1]) if found else None
