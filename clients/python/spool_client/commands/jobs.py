"""``spool wait``, ``show``, ``cancel``, ``delete`` and ``jobs``."""

from __future__ import annotations

import math

import click

from spool_client.commands.connection import client_of, json_option, url_option
from spool_client.commands.exits import Command, Interrupted, code_of, stop
from spool_client.commands.output import table, write, write_json
from spool_client.documents import Job

STATUSES = ["queued", "running", "succeeded", "failed", "cancelled"]
_JOBS = click.argument("job", nargs=-1, required=True)


@click.command(cls=Command)
@_JOBS
@click.option("--timeout", "timeout_s", type=float, default=math.inf, metavar="SECONDS", help="Else exit with 124.")
@json_option("The record of each job on a line.")
@url_option
@click.pass_obj
def wait(interrupted: Interrupted, job: tuple[str, ...], timeout_s: float, as_json: bool, url: str) -> None:
    """Wait until the jobs have ended. Exit codes: 1 if the last unsuccessful job failed, 5 if it was cancelled."""
    interrupted.hint = f"spool wait {' '.join(job)}"
    code = 0
    with client_of(url) as client:
        for name in job:
            ended = client.wait(name, timeout_s=timeout_s)
            _write(ended, as_json=as_json)
            code = code_of(ended["status"]) or code
    stop(code)


@click.command(cls=Command)
@click.argument("job")
@json_option("The whole record.")
@url_option
def show(job: str, as_json: bool, url: str) -> None:
    """Write a job's text so far."""
    with client_of(url) as client:
        found = client.job(job)
    if as_json:
        write_json(found)
    else:
        write(found.get("text", "") + "\n")


@click.command(cls=Command)
@_JOBS
@json_option("The record of each job on a line.")
@url_option
def cancel(job: tuple[str, ...], as_json: bool, url: str) -> None:
    """Request the cancellation of jobs."""
    with client_of(url) as client:
        for name in job:
            _write(client.cancel(name), as_json=as_json)


@click.command(cls=Command)
@_JOBS
@url_option
def delete(job: tuple[str, ...], url: str) -> None:
    """Delete ended jobs."""
    with client_of(url) as client:
        for name in job:
            client.delete(name)


@click.command(cls=Command)
@click.option("--status", type=click.Choice(STATUSES), default=None, help="Only jobs in this state.")
@click.option("--batch", default="", help="Only jobs of this batch.")
@click.option("--model", default="", help="Only jobs with this model.")
@click.option("--metadata", default="", metavar="NAME[=VALUE]", help="Only jobs with this metadata.")
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="The most jobs; 0 for all.")
@json_option("The record of each job on a line.")
@url_option
def jobs(status: str | None, batch: str, model: str, metadata: str, limit: int, as_json: bool, url: str) -> None:
    """List jobs, newest first. In a pipe: tab-separated, without a header."""
    with client_of(url) as client:
        found = client.jobs(status=status or "", batch=batch, model=model, metadata=metadata, limit=limit)
        if as_json:
            for job in found:
                write_json(job)
        else:
            table(["ID", "STATUS", "MODEL", "CREATED", "ATTEMPT", "ENTRIES", "ERROR"], map(_row, found))


def _row(job: Job) -> list[object]:
    error = job["error"]["code"] if job["error"] else ""
    created = job["created_at"][:19]
    return [job["id"], job["status"], job["model"], created, job["attempt"], job["last_entry"], error]


def _write(job: Job, *, as_json: bool) -> None:
    if as_json:
        write_json(job)
    else:
        state = "cancelling" if job["cancel_requested_at"] else job["status"]
        write(f"{job['id']}\t{state}\n")
