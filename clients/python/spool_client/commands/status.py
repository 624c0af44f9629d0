"""``spool status``: whether the server accepts jobs and this key."""

from __future__ import annotations

from typing import Any

import click

from spool_client.commands.connection import client_of, json_option, url_option
from spool_client.commands.exits import UNAVAILABLE, Command, stop
from spool_client.commands.output import write, write_json


@click.command(cls=Command)
@json_option("One JSON document.")
@url_option
def status(as_json: bool, url: str) -> None:
    """Write the server's version, state and models. Exit codes: 4 if it accepts no jobs, 3 if it refuses the key."""
    with client_of(url) as client:
        ready = client.readiness()
        version = client.version()
        models = client.models()
        next(client.jobs(limit=1), None)
    checks = ready.get("checks", {})
    is_ready = ready.get("status") == "ok"
    if as_json:
        write_json({"url": url, "version": version, "ready": is_ready, "checks": checks, **models})
    else:
        write("".join(f"{line}\n" for line in _lines(url, version, ready, models)))
    if not is_ready:
        stop(UNAVAILABLE)


def failing(checks: dict[str, Any]) -> list[str]:
    """The conditions that last, each with its message."""
    return [f"{name}: {check.get('message', '')}" for name, check in checks.items() if not check["ok"]]


def _lines(url: str, version: dict[str, Any], ready: dict[str, Any], models: dict[str, Any]) -> list[str]:
    is_ready = ready.get("status") == "ok"
    lines = [
        f"server   {url}, {version['name']} {version['version']}",
        f"state    {'accepts jobs' if is_ready else ready.get('detail') or ready.get('title')}",
        *(f"         {line}" for line in failing(ready.get("checks", {}))),
    ]
    for number, model in enumerate(models["models"]):
        default = " (default)" if model["name"] == models["default"] else ""
        lines.append(f"{'models  ' if number == 0 else '        '} {model['name']}{default}, {model['backend']}")
    return lines
