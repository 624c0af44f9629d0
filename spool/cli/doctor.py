"""``spool doctor``: looks at a deployment, and says what is wrong and what to change. Exit codes: 0 without an error, 1
with one (with ``--strict`` also for a warning), 2 for a wrong setting."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict

import click
import orjson

from spool.cli.one_line_errors import printable
from spool.errors import SettingsError, SpoolError
from spool.jobs.shards import Shards
from spool.redis.link import RedisLink
from spool.run import programs
from spool.settings import RunSettings
from spool.status.deployment import look
from spool.status.deployment_checks import check_deployment, check_exposure
from spool.status.finding import Finding, Level, error
from spool.status.http_checks import check_stream, check_upstreams
from spool.status.machine_checks import check_machine
from spool.status.server_checks import check_broker, check_redis

_MARKS = {Level.OK: "ok  ", Level.WARNING: "WARN", Level.ERROR: "FAIL"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings, too.")
@click.option("--url", default="", help="Also stream a short job through this URL, such as that of your proxy.")
@click.option("--key", default=lambda: os.environ.get("SPOOL_KEY", ""), help="The key for --url; default: SPOOL_KEY.")
@click.option("--quiet", is_flag=True, help="Show only what is wrong.")
def doctor(as_json: bool, strict: bool, url: str, key: str, quiet: bool) -> None:
    """Check settings, machine, Redis, workers and versions.

    It reads the settings of run, web and worker, and changes nothing.
    """
    found = list(findings(url.rstrip("/"), key))
    if as_json:
        click.echo(orjson.dumps({"findings": [asdict(one) for one in found]}, option=orjson.OPT_INDENT_2))
    else:
        for one in found:
            if quiet and one.level is Level.OK:
                continue
            click.echo(printable(f"{_MARKS[one.level]} {one.check}: {one.message}"))
            if one.remedy:
                click.echo(f"     → {one.remedy}")
    levels = {one.level for one in found}
    if any(one.check == "settings" for one in found):
        sys.exit(2)
    sys.exit(1 if Level.ERROR in levels or (strict and Level.WARNING in levels) else 0)


def findings(url: str = "", key: str = "") -> Iterator[Finding]:
    """All checks, one after the other. All of them run, whatever the others find."""
    try:
        settings = RunSettings.read()
        settings.check_exposure()
        settings.owners()
        upstreams = settings.upstreams()
        settings.models_of(upstreams)
    except SettingsError as exc:
        yield error("settings", str(exc), "correct the variable that it names; README.md lists all settings")
        return
    yield from check_machine(settings)
    yield from check_exposure(settings)
    yield from _check_deployment(settings)
    yield from check_upstreams(upstreams)
    if url:
        yield check_stream(url, key)


def _check_deployment(settings: RunSettings) -> Iterator[Finding]:
    try:
        redis_url = programs.redis_url_of(settings)
    except SettingsError as exc:
        yield error("redis_away", str(exc), "start `spool run` on this data directory, or set SPOOL_REDIS_URL")
        return
    link = RedisLink(redis_url, connections=1, name="spool-doctor")
    is_away = False
    for one in check_redis(link, settings):
        is_away = is_away or (one.check in ("redis_away", "permission_missing") and one.level is Level.ERROR)
        yield one
    yield check_broker(settings, redis_url)
    if is_away:
        return
    try:
        yield from check_deployment(look(Shards.on(link, settings.shards), settings.memory_watermark))
    except SpoolError as exc:
        yield error("deployment", f"cannot be read: {exc}", "see the findings about Redis")
