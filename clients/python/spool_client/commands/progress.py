"""The progress of a batch, on stderr and only on a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import click

from spool_client.documents import BATCH_ENDS, Batch, ended_in


class Progress:
    """A bar from 0 to ``total``."""

    def __init__(self, total: int) -> None:
        self._trouble = ""
        self._bar: Any = click.progressbar(
            length=total,
            file=sys.stderr,
            show_pos=True,
            hidden=not sys.stderr.isatty(),
            item_show_func=lambda _: self._trouble,
        )

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def show(self, batch: Batch) -> None:
        """The bar is as far as the jobs are."""
        self.note(batch)
        self.reach(ended_in(batch))

    def note(self, batch: Batch) -> None:
        """Show beside the bar how many did not succeed."""
        counts = batch["counts"]
        self._trouble = ", ".join(f"{counts[name]:,} {name}" for name in BATCH_ENDS[1:] if counts.get(name))
        self.reach(self._bar.pos)

    def reach(self, position: int) -> None:
        """Move the bar."""
        self._bar.update(position - self._bar.pos)
