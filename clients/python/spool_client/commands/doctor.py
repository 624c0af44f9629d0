"""``spool doctor``: what works between this machine and the server, one line each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import click

from spool_client.client import Client
from spool_client.commands.connection import client_of, json_option, url_option
from spool_client.commands.exits import FAILED, Command, stop
from spool_client.commands.output import write, write_json
from spool_client.commands.status import failing
from spool_client.documents import Job
from spool_client.errors import SpoolError
from spool_client.ladder import TRANSPORTS

T = TypeVar("T")

_DEMO = "demo"
_TRANSPORT_S = 15.0
_ADVICE = {
    "sse": "a proxy refuses or buffers streams; for nginx: proxy_buffering off",
    "long": "a proxy ends requests that wait; allow 60 s",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: whether it is ``ok``, and what was found or what to do."""

    name: str
    ok: bool
    found: str


def findings(client: Client, model: str | None) -> Iterator[Finding]:
    """The checks, in the order in which a failure explains the next ones. Stops where nothing further can work."""
    # This call alone is not repeated for a minute while there is no server.
    ready, problem = _tried(client.readiness)
    if ready is None:
        yield Finding("server", False, f"{problem}; check --url and SPOOL_URL")
        return
    version, problem = _tried(client.version)
    yield Finding("server", version is not None, f"{version['name']} {version['version']}" if version else problem)
    state = "; ".join(failing(ready.get("checks", {}))) or str(ready.get("detail", "accepts jobs"))
    yield Finding("ready", ready.get("status") == "ok", state)
    models, problem = _tried(client.models)
    if models is None:
        yield Finding("key", False, f"{problem}; set SPOOL_KEY or SPOOL_KEY_FILE")
        return
    names = [found["name"] for found in models["models"]]
    yield Finding("key", True, f"accepted; models: {', '.join(names)}")
    model = model or (_DEMO if _DEMO in names else None)
    if model is None:
        yield Finding("job", True, "not tried: no model demo; name one with --model")
        return
    yield from _job(client, model)


def _job(client: Client, model: str) -> Iterator[Finding]:
    params = {"tokens": 20, "rate": 20} if model == _DEMO else {}
    began = time.monotonic()
    job, problem = _tried(lambda: client.submit("Say hello.", model=model, params=params))
    if job is None:
        yield Finding("job", False, problem)
        return
    for name in TRANSPORTS:
        yield _transport(client, job, name)
    ended, problem = _tried(lambda: client.wait(job, timeout_s=60))
    found = problem if ended is None else f"{ended['status']} after {time.monotonic() - began:.1f} s"
    yield Finding("job", ended is not None and ended["status"] == "succeeded", found)


def _transport(client: Client, job: Job, name: str) -> Finding:
    """Whether the job's first document comes over this transport alone."""
    began = time.monotonic()
    _, problem = _tried(lambda: next(iter(client.follow(job, transports=[name], timeout_s=_TRANSPORT_S)), None))
    if problem:
        return Finding(name, False, f"nothing in {_TRANSPORT_S:g} s; {_ADVICE.get(name, problem)}")
    return Finding(name, True, f"{time.monotonic() - began:.1f} s")


def _tried(call: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return call(), ""
    except (SpoolError, TimeoutError) as error:
        return None, str(error)


@click.command(cls=Command)
@click.option("-m", "--model", help="The model of the job that is tried; else demo, if the server has it.")
@json_option("Each check on a line.")
@url_option
def doctor(model: str | None, as_json: bool, url: str) -> None:
    """Check the server, the key and each transport.

    It runs a small job. Exits with 1 if a check fails.
    """
    is_well = True
    with client_of(url) as client:
        for finding in findings(client, model):
            is_well = is_well and finding.ok
            if as_json:
                write_json({"name": finding.name, "ok": finding.ok, "found": finding.found})
            else:
                write(f"{'ok    ' if finding.ok else 'FAILED'}  {finding.name:8} {finding.found}\n")
    if not is_well:
        stop(FAILED)
