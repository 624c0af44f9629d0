"""``spool status`` and ``spool top``: the state of a deployment at a glance.

Exit codes: 0 if jobs are accepted and run, 1 if not, 2 for a wrong setting.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence

import click
import orjson

from spool.cli.one_line_errors import OneLineErrorsCommand, printable
from spool.jobs.shards import Shards
from spool.redis.link import RedisLink
from spool.run import programs
from spool.settings import RunSettings
from spool.status.deployment import Deployment, look
from spool.status.instances import Instance, running

_INSTANCES_SHOWN = 40
_CLEAR = "\x1b[H\x1b[2J"


@click.command(cls=OneLineErrorsCommand)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def status(as_json: bool) -> None:
    """Show webs, workers, queues, Redis and switches at a glance.

    The exit code is 0 if jobs are accepted and run.
    """
    settings = RunSettings.read()
    found = look(_shards(settings), settings.memory_watermark)
    if as_json:
        click.echo(orjson.dumps(found.document(), option=orjson.OPT_INDENT_2))
    else:
        click.echo("\n".join(map(printable, lines(found, time.time()))))
    sys.exit(0 if found.is_serving else 1)


@click.command(cls=OneLineErrorsCommand)
@click.option("--every", "every_s", type=click.FloatRange(0.2, 3600), default=2.0, help="Seconds between two looks.")
@click.option("--times", type=click.IntRange(1), help="Looks, then exit; without it until Ctrl-C.")
def top(every_s: float, times: int | None) -> None:
    """Show the same as status, again and again."""
    settings = RunSettings.read()
    shards = _shards(settings)
    shown = 0
    while times is None or shown < times:
        found = look(shards, settings.memory_watermark)
        click.echo((_CLEAR if sys.stdout.isatty() else "") + "\n".join(map(printable, lines(found, time.time()))))
        shown += 1
        if shown != times:
            time.sleep(every_s)


def _shards(settings: RunSettings) -> Shards:
    link = RedisLink(programs.redis_url_of(settings), connections=1, name="spool-status")
    return Shards.on(link, settings.shards)


def lines(found: Deployment, now: float) -> Iterator[str]:
    """The state as text, one fact a line. ``now``: seconds since the epoch."""
    yield "serving   " + ("yes" if found.is_serving else f"NO: {', '.join(found.stopping)}")
    for each in running(found.instances):
        commit = f" {each.commit[:9]}" if each.commit else ""
        yield f"{each.program:9} {each.processes} × {each.version}{commit}, schema {each.schema}"
    streams = sum(one.streams for one in found.instances)
    yield f"slots     {found.free_slots} of {found.slots} free in {found.workers} workers; {streams} streams"
    server = found.server
    limit = f" of {server.limit // 2**20}" if server.limit else ""
    persistence = "append-only file" if server.has_file else "NO append-only file"
    yield f"redis     {server.version}, {server.used // 2**20}{limit} MiB, {server.policy}, {persistence}"
    for queue in found.queues:
        oldest = ", ".join(f"{priority.value} {age_s:.0f} s" for priority, (_id, age_s) in queue.oldest.items())
        age = f" (oldest {oldest})" if oldest else ""
        yield f"queue     {queue.model}: {queue.waiting} wait{age}, {queue.running} run"
    for owner, waiting, running_jobs in found.owners:
        yield f"owner     {owner}: {waiting} wait, {running_jobs} run"
    for name, closed in found.closed.items():
        yield f"closed    {name}, for {_length(now - closed.since)}: {closed.reason}"
    for switch in found.switches:
        yield f"switch    {switch.name}, for {_length(now - switch.since_ms / 1000)}, by {switch.by}{switch.because}"
    yield from _instance_lines(found.instances, now)
    for name, message in found.conditions.items():
        yield f"condition {name}: {message}"
    if found.set_aside:
        yield f"damaged   {found.set_aside} jobs are set aside"


def _instance_lines(instances: Sequence[Instance], now: float) -> Iterator[str]:
    """A line for each name that `spool switch on drain` takes. A process that is younger than the others was
    restarted."""
    names = sorted({one.instance for one in instances})
    for name in names[:_INSTANCES_SHOWN]:
        own = [one for one in instances if one.instance == name]
        streams = f", {sum(one.streams for one in own)} streams" if own[0].program == "web" else ""
        drained = ", drained" if any(one.is_drained for one in own) else ""
        age = _length(now - max(one.started_ms for one in own) / 1000)
        yield f"instance  {name}: {len(own)} processes, the youngest for {age}{streams}{drained}"
    if len(names) > _INSTANCES_SHOWN:
        yield f"instance  {len(names) - _INSTANCES_SHOWN} more: see --json"


def _length(seconds: float) -> str:
    """A length of time in the unit that fits it. Clocks may differ a little, so it may be below 0."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
