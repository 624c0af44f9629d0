"""Waiting for a batch, and its results, as steps. Both survive lost connections and servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from spool_client.backoff import Backoff
from spool_client.documents import Batch, ended_in
from spool_client.errors import SpoolError
from spool_client.steps import Close, Emit, Pause, Read, Request, Steps, exchange, open_stream, parsed
from spool_client.timing import Timing

Progress = Callable[[Batch], None]


def wait(timing: Timing, path: str, on_progress: Progress | None) -> Steps[Batch]:
    """The batch, once all its jobs have ended. ``on_progress`` is called when the counts change."""
    seen: dict[str, int] = {}
    while True:
        batch = yield from _look(timing, path)
        if batch["counts"] != seen and on_progress is not None:
            on_progress(batch)
        seen = batch["counts"]
        if batch["ended"]:
            return batch
        yield Pause(timing.poll_s)


def results(timing: Timing, path: str, after: int, on_progress: Progress | None, *, follow: bool) -> Steps[None]:
    """Emit the ended jobs in the order of their ends, each once; with ``follow`` until all have ended. ``after``: the
    ``cursor`` of the last one that the caller has. Cursors jump where the server has lost some, and jobs that ended
    then end again."""
    backoff, seen, read = Backoff(timing), set[int](), 0
    while True:
        batch = yield from _look(timing, path)
        if on_progress is not None:
            on_progress(batch)
        ended = ended_in(batch)
        if ended > read:
            before = after
            try:
                after = yield from _lines(timing, path, after, seen)
                read = ended
            except _Broken as broken:
                after = broken.after
                if not broken.cause.is_temporary:
                    raise broken.cause from None
            if after > before:
                backoff.reset()
        if read >= ended and (batch["ended"] or not follow):
            return
        yield Pause(timing.poll_s if read >= ended else backoff.next_s())


class _Broken(Exception):
    """A download that broke off after the result with this cursor."""

    def __init__(self, after: int, cause: SpoolError) -> None:
        super().__init__(str(cause))
        self.after = after
        self.cause = cause


def _lines(timing: Timing, path: str, after: int, seen: set[int]) -> Steps[int]:
    """Emit the results after the cursor ``after``, but not those of lines in ``seen``; the last one's cursor. Raises
    ``_Broken``."""
    request = Request("GET", f"{path}/results?after={after}", timing.request_s, {"Accept": "application/x-ndjson"})
    try:
        yield from open_stream(request, "application/x-ndjson")
        rest = b""
        while chunk := (yield Read()):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, lines):
                job: Any = json.loads(line)
                # A server of an older version counts results instead.
                after = job.get("cursor", after + 1)
                index = job.get("batch_index")
                if index is None or index not in seen:
                    seen.add(index)
                    yield Emit(job)
    except SpoolError as error:
        raise _Broken(after, error) from error
    except ValueError:
        changed = SpoolError("a result was changed in transit", status=502, request=str(request))
        raise _Broken(after, changed) from None
    yield Close()
    return after


def _look(timing: Timing, path: str) -> Steps[Batch]:
    """The batch. Waits for an unreachable server."""
    request, backoff = Request("GET", path, timing.request_s), Backoff(timing)
    while True:
        try:
            batch: Batch = parsed((yield from exchange(request, timing.whole_s)), request)
        except SpoolError as error:
            if not error.is_temporary:
                raise
            yield Pause(backoff.next_s(error.retry_after_s))
        else:
            return batch
