"""Exit codes, and the end of a command by an error or Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from spool_client.errors import SpoolError

SUCCEEDED = 0
FAILED = 1
"""The job failed, or a job of the batch."""
USAGE = 2
REFUSED = 3
"""The server refuses: no such job, a wrong key, an invalid prompt."""
UNAVAILABLE = 4
"""The server cannot be reached, or is not ready."""
CANCELLED = 5
RESTARTED = 6
"""The answer restarted after text was written that cannot be retracted."""
TIMED_OUT = 124
INTERRUPTED = 130
BROKEN_PIPE = 141

_OF_STATUS = {"succeeded": SUCCEEDED, "failed": FAILED, "cancelled": CANCELLED}


def code_of(status: str) -> int:
    """The exit code of a job that ended so."""
    return _OF_STATUS.get(status, SUCCEEDED)


def say(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    click.echo(f"spool: {text}", err=True)


def stop(code: int, text: str = "") -> NoReturn:
    """End the command."""
    if text:
        say(text)
    sys.exit(code)


class Interrupted:
    """How to continue after Ctrl-C. A command sets ``hint`` once it has something to resume."""

    def __init__(self) -> None:
        self.hint = ""


class Command(click.Command):
    """A command whose errors are one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        ctx.obj = Interrupted()
        with ending(ctx.obj):
            return super().invoke(ctx)


@contextmanager
def ending(interrupted: Interrupted) -> Iterator[None]:
    """Translates errors to exit codes."""
    try:
        yield
        sys.stdout.flush()
    except SpoolError as error:
        where = f" ({error.request})" if error.request else ""
        if error.is_temporary and error.request in ("POST /jobs", "POST /batches"):
            say(f"it may have arrived; repeat it safely with --idempotency-key {error.idempotency_key}")
        stop(UNAVAILABLE if error.is_temporary else REFUSED, f"{error}{where}")
    except TimeoutError as error:
        stop(TIMED_OUT, f"{error}{_continued(interrupted)}")
    except BrokenPipeError:
        # The reader of the pipe has left. Python would write what is buffered once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except (KeyboardInterrupt, click.Abort):
        click.echo("", err=True)
        stop(INTERRUPTED, f"interrupted; the server continues{_continued(interrupted)}")


def _continued(interrupted: Interrupted) -> str:
    return f". To come back: {interrupted.hint}" if interrupted.hint else ""
