"""The commands that are programs of the server: everything on one machine, or a single web or worker.

Exit codes: 0 after a clean stop, 1 if something could not start or had to be killed, 2 for a wrong setting.
"""

from __future__ import annotations

import os
import sys
from tempfile import TemporaryDirectory
from typing import Any

import click

from spool.errors import SettingsError
from spool.machine_memory import memory_bytes, size_bytes
from spool.run import programs
from spool.run.console import stdout_console
from spool.run.embedded import EmbeddedServer
from spool.run.supervisor import NAME, Supervisor
from spool.run.temporary_files import temporary_directory
from spool.settings import RunSettings, WebSettings, WorkerSettings

_AFTER_A_KILL_S = 10.0
"""How long to wait for the port if the last ``spool run`` was killed, because its web is still exiting."""
_HANDOVER_S = 2.0
"""The same for a single web, whose predecessor may still be exiting."""


class _Program(click.Command):
    """A command that reads settings."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; a wrong setting is one line."""
        try:
            return super().invoke(ctx)
        except SettingsError as exc:
            click.echo(f"spool: {exc}", err=True)
            sys.exit(2)


@click.command(cls=_Program)
def run() -> None:
    """Run everything: web, workers and a Redis server.

    With SPOOL_REDIS_URL it runs no Redis server of its own.
    """
    settings = RunSettings.read()
    settings.check_exposure()
    # Report an invalid file here, once, not in every program.
    settings.static_models()
    settings.owners()
    temporary_directory()
    if settings.redis_url.get_secret_value():
        sys.exit(_supervise(settings, None))
    server = EmbeddedServer(settings.data_dir, size_bytes(settings.embedded_maxmemory, memory_bytes()))
    try:
        server.acquire()
        code = _supervise(settings, server)
    finally:
        server.release()
    sys.exit(code)


def _supervise(settings: RunSettings, server: EmbeddedServer | None) -> int:
    port = programs.free_port(settings, _AFTER_A_KILL_S if server and server.after_a_kill else 0.0)
    with TemporaryDirectory(prefix="spool-metrics-", dir=temporary_directory(), ignore_cleanup_errors=True) as metrics:
        stages = programs.stages(settings, server, port, metrics)
        console = stdout_console([NAME, *(program.name for stage in stages for program in stage)])
        banner = programs.banner(settings, port, embedded=server is not None)
        return Supervisor(stages, console, on_ready=lambda: console.say(NAME, banner)).run()


@click.command(cls=_Program)
def web() -> None:
    """Run one web (gunicorn).

    Its Redis is that of SPOOL_REDIS_URL, else that of a `spool run` with the same SPOOL_DATA_DIR.
    """
    settings = WebSettings.read()
    settings.check_exposure()
    env = programs.environment(settings, programs.redis_url_of(settings))
    temporary_directory()
    programs.free_port(settings, _HANDOVER_S)
    _become(programs.web_argv(), env)


@click.command(cls=_Program)
def worker() -> None:
    """Run one worker process (Celery).

    Its Redis is that of SPOOL_REDIS_URL, else that of a `spool run` with the same SPOOL_DATA_DIR.
    """
    settings = WorkerSettings.read()
    env = programs.environment(settings, programs.redis_url_of(settings))
    _become(programs.worker_argv(), env)


def _become(argv: list[str], env: dict[str, str]) -> None:
    """Replace this process, so that signals reach the program itself."""
    os.execvpe(argv[0], argv, env)  # noqa: S606


COMMANDS: tuple[click.Command, ...] = (run, web, worker)
