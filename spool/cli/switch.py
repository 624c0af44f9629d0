"""``spool switch``: what operators stop, pause, drain or turn off, in the Redis of SPOOL_REDIS_URL, or of a ``spool
run`` on this data directory.

Exit codes: 0, 1 if something could not be done, 2 for a wrong argument or setting.
"""

from __future__ import annotations

import time

import click
import orjson

from spool.cli.one_line_errors import OneLineErrors, printable
from spool.errors import WrongSwitch
from spool.jobs.entries import rfc3339
from spool.logs import event
from spool.redis.link import RedisLink
from spool.run import programs
from spool.settings import Settings
from spool.switches.store import SwitchStore
from spool.switches.switch import Kind, Switch, checked

_KINDS = click.Choice([kind.value for kind in Kind])


@click.group("switch", cls=OneLineErrors)
def switch() -> None:
    """Stop, pause or drain without a deploy.

    \b
    stop-submits   all, model:NAME, class:batch, owner:NAME: no job is accepted
    pause          all, model:NAME: no job begins; running ones go on
    drain          an instance, as `spool status` names it
    transport-off  sse, ndjson, text, websocket, long-polling
    max-streams    all: at most --value streams in each web process
    notice         all: shows --reason to every reader
    """


def _store() -> SwitchStore:
    settings = Settings.read()
    return SwitchStore(RedisLink(programs.redis_url_of(settings), connections=1, name="spool-switch"))


def _checked(kind: str, target: str, reason: str, value: int | None) -> Switch:
    try:
        return checked(kind, target, reason=reason, value=value)
    except WrongSwitch as exc:
        raise click.UsageError(str(exc)) from exc


@switch.command()
@click.argument("kind", type=_KINDS)
@click.argument("target", default="all")
@click.option("--reason", default="", help="Shown in the answers that it causes.")
@click.option("--value", type=int, help="The number of max-streams.")
def on(kind: str, target: str, reason: str, value: int | None) -> None:
    """Turn a switch on, until it is taken back.

    Webs and workers obey it within 2 s.
    """
    turned = _store().turn_on(_checked(kind, target, reason, value), by="cli")
    event("audit", action="switch.on", what=turned.name, owner="cli", reason=turned.reason or None, value=turned.value)
    click.echo(_line(turned))


@switch.command()
@click.argument("kind", type=_KINDS)
@click.argument("target", default="all")
def off(kind: str, target: str) -> None:
    """Take a switch back."""
    turned = _checked(kind, target, "-", 0 if kind == Kind.MAX_STREAMS.value else None)
    _store().turn_off(turned)
    event("audit", action="switch.off", what=turned.name, owner="cli")
    click.echo(f"off: {turned.name}")


@switch.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def list_switches(as_json: bool) -> None:
    """List the switches that are on."""
    for one in _store().all():
        document = {"kind": one.kind.value, "target": one.target, "reason": one.reason, "value": one.value}
        click.echo(
            orjson.dumps({**document, "since_ms": one.since_ms, "by": one.by}) if as_json else printable(_line(one))
        )


def _line(one: Switch) -> str:
    age_s = max(0, int(time.time() - one.since_ms / 1000))
    value = f" = {one.value}" if one.value is not None else ""
    return f"{one.name}{value}  since {rfc3339(one.since_ms / 1000)} ({age_s} s) by {one.by}{one.because}"
