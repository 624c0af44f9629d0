"""The blocks of a log's packed form (``spool.jobs.packing``), made of its stream while workers serve other jobs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar, cast

from spool.jobs.log import page_of, range_command, rows_of
from spool.jobs.packing import BLOCK_BYTES, BLOCK_ENTRIES, Row, packing_steps
from spool.redis.errors import is_wrong_type, translated
from spool.redis.link import RedisLink
from spool.redis.pool import Command

_Result = TypeVar("_Result")


class CannotPack(Exception):
    """This log stays a stream: it is damaged, or too large."""


def blocks_of(link: RedisLink, log_id: str, rest: Callable[[], None]) -> Iterator[tuple[Sequence[Row], bytes]]:
    """The entries of each block and the block, with a pause (``rest``) after each step of the work. Raises
    ``CannotPack`` and ``StoreUnavailable``."""
    rows: list[Row] = []
    size = 0
    for row in _rows_of(link, log_id, rest):
        rows.append(row)
        size += len(row[1])
        if len(rows) >= BLOCK_ENTRIES or size >= BLOCK_BYTES:
            yield rows, result_of(packing_steps(rows), rest)
            rows, size = [], 0
    if rows:
        yield rows, result_of(packing_steps(rows), rest)


def result_of(steps: Generator[None, None, _Result], rest: Callable[[], None]) -> _Result:
    """The result of the steps, with a pause after each."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast(_Result, done.value)
        rest()


def reply_to(link: RedisLink, command: Command) -> Any:
    """The reply. Raises ``CannotPack`` if the key has another type, and ``StoreUnavailable``."""
    (reply,) = link.pipeline_each([command])
    if is_wrong_type(reply):
        raise CannotPack("a key of it has another type")
    if isinstance(reply, Exception):
        raise translated(reply) from reply
    return reply


def _rows_of(link: RedisLink, log_id: str, rest: Callable[[], None]) -> Iterator[Row]:
    after, page = 0, page_of(log_id)
    while True:
        reply = reply_to(link, range_command(log_id, after, page))
        rows = rows_of(reply)
        if len(rows) != len(reply):
            raise CannotPack("it has something other than entries")
        yield from rows
        if len(reply) < page:
            return
        after = rows[-1][0]
        rest()
