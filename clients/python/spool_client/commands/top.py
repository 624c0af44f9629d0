"""``spool top``: a live view of a server, from what its public calls say."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import click

from spool_client.client import Client
from spool_client.commands.connection import client_of, json_option, url_option
from spool_client.commands.exits import Command
from spool_client.commands.output import on_terminal, write, write_json
from spool_client.commands.status import failing
from spool_client.documents import Job
from spool_client.errors import SpoolError

_AT_MOST = 200
"""Jobs looked at in each state; a server may have many more."""
_SAMPLE = re.compile(r'^(\w+)(?:\{\w+="([^"]*)"\})? ([0-9.e+]+)$', re.MULTILINE)
_NEW_SCREEN, _OLD_SCREEN, _HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[?1049h", "\x1b[?1049l", "\x1b[H", "\x1b[K", "\x1b[J"


@dataclass(slots=True)
class Snapshot:
    """A server at one moment. ``queues``: queued and running jobs of each model, and the age of the oldest queued."""

    url: str
    state: str
    conditions: list[str] = field(default_factory=list)
    queues: list[dict[str, Any]] = field(default_factory=list)
    streams: dict[str, int] = field(default_factory=dict)
    submitted: dict[str, int] = field(default_factory=dict)
    running: list[Job] = field(default_factory=list)
    is_partial: bool = False
    """Whether there are more jobs than were looked at."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        names = ("url", "state", "conditions", "queues", "streams", "submitted", "is_partial")
        return {name: getattr(self, name) for name in names}


def look(client: Client, url: str, now: datetime | None = None) -> Snapshot:
    """The server now. What this key may not read is left out."""
    ready = client.readiness()
    state = "accepts jobs" if ready.get("status") == "ok" else str(ready.get("detail") or ready.get("title"))
    snapshot = Snapshot(url, state, failing(ready.get("checks", {})))
    names = [model["name"] for model in client.models()["models"]]
    queued = list(client.jobs(status="queued", limit=_AT_MOST))
    snapshot.running = list(client.jobs(status="running", limit=_AT_MOST))
    snapshot.is_partial = len(queued) == _AT_MOST or len(snapshot.running) == _AT_MOST
    snapshot.queues = list(_queues(names, queued, snapshot.running, now or datetime.now(UTC)))
    try:
        samples = _SAMPLE.findall(client.metrics())
    except SpoolError:
        return snapshot
    snapshot.streams = {label: int(float(value)) for name, label, value in samples if name == "spool_streams"}
    snapshot.submitted = {
        label: int(float(value)) for name, label, value in samples if name == "spool_jobs_submitted_total"
    }
    return snapshot


def _queues(names: Sequence[str], queued: list[Job], running: list[Job], now: datetime) -> Iterable[dict[str, Any]]:
    waiting, busy = Counter(job["model"] for job in queued), Counter(job["model"] for job in running)
    oldest: dict[str, float] = {}
    for job in queued:
        age_s = (now - datetime.fromisoformat(job["created_at"])).total_seconds()
        oldest[job["model"]] = max(age_s, oldest.get(job["model"], 0.0))
    for name in dict.fromkeys([*names, *waiting, *busy]):
        yield {
            "model": name,
            "queued": waiting[name],
            "running": busy[name],
            "oldest_s": round(oldest[name]) if name in oldest else None,
        }


def lines(snapshot: Snapshot, rates: dict[str, float]) -> list[str]:
    """The view as lines."""
    more = " or more" if snapshot.is_partial else ""
    streams = ", ".join(f"{count:,} {name}" for name, count in snapshot.streams.items() if count) or "none"
    accepted = ", ".join(f"{rate:.1f}/s {name}" for name, rate in rates.items() if rate) or "none"
    view = [
        f"spool at {snapshot.url}: {snapshot.state}",
        *(f"  ! {condition}" for condition in snapshot.conditions),
        "",
        f"streams   {streams}",
        f"accepted  {accepted}",
        "",
        f"{'MODEL':30} {'QUEUED':>8} {'RUNNING':>8} {'OLDEST':>8}   your jobs{more}",
    ]
    for queue in snapshot.queues:
        oldest = "" if queue["oldest_s"] is None else f"{queue['oldest_s']:,} s"
        view.append(f"{queue['model'][:30]:30} {queue['queued']:>8,} {queue['running']:>8,} {oldest:>8}")
    view += ["", f"{'RUNNING JOB':32} {'MODEL':20} {'ATTEMPT':>7} {'ENTRIES':>8}  BATCH"]
    for job in snapshot.running:
        batch = job["batch"] or ""
        view.append(f"{job['id']:32} {job['model'][:20]:20} {job['attempt']:>7} {job['last_entry']:>8,}  {batch}")
    return view


@click.command(cls=Command)
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.2),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two views.",
)
@click.option("--once", is_flag=True, help="Write the view once. The default in a pipe.")
@json_option("The view once, as JSON.")
@url_option
def top(every_s: float, once: bool, as_json: bool, url: str) -> None:
    """Watch a server: conditions, streams, jobs by model.

    The jobs by model are your own; of others it shows how many were accepted. Ctrl-C ends it.
    """
    with client_of(url) as client:
        if as_json:
            write_json(look(client, url).as_dict())
        elif once or not on_terminal():
            write("\n".join(lines(look(client, url), {})) + "\n")
        else:
            _watch(client, url, every_s)


def _watch(client: Client, url: str, every_s: float) -> None:
    write(_NEW_SCREEN)
    try:
        before, before_at = Snapshot(url, ""), time.monotonic()
        while True:
            snapshot, now = _look_or_say(client, url), time.monotonic()
            _draw(lines(snapshot, _rates(before.submitted, snapshot.submitted, now - before_at)))
            before, before_at = snapshot, now
            time.sleep(every_s)
    except KeyboardInterrupt:
        pass
    finally:
        write(_OLD_SCREEN)


def _look_or_say(client: Client, url: str) -> Snapshot:
    try:
        return look(client, url)
    except SpoolError as error:
        if error.is_refusal:
            raise
        return Snapshot(url, str(error))


def _rates(before: dict[str, int], after: dict[str, int], seconds: float) -> dict[str, float]:
    return {name: max(0, count - before[name]) / seconds for name, count in after.items() if name in before}


def _draw(view: list[str]) -> None:
    width, height = shutil.get_terminal_size()
    shown = ["".join(filter(str.isprintable, line))[:width] for line in view[: height - 1]]
    sys.stdout.write(_HOME + "".join(f"{line}{_CLEAR_LINE}\r\n" for line in shown) + _CLEAR_BELOW)
    sys.stdout.flush()
