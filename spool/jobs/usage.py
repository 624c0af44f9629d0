"""Usage: what ended attempts have used, by owner, credential, model and day (UTC).

The scripts that end an attempt write it (``lua/lib/usage.lua``), together with its end: so each attempt counts once,
whatever dies. Tokens are those of the upstream's usage. Without it, as for attempts that were cancelled, failed or
lost, they are counted in the log: a token for each entry, or a quarter of the text's bytes if that is more; and a
quarter of the prompt's bytes, if the attempt wrote anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self

from spool.jobs.owner_list import read
from spool.jobs.shards import Shard, Shards

GROUPS = ("day", "model", "owner", "credential")
"""What usage can be grouped by."""
_HASHES_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Figures:
    """What was used. ``jobs`` have ended. ``attempts`` have ended, ``unsuccessful`` ones in any way but success: they
    were cancelled, failed, lost or handed back."""

    input_tokens: int = 0
    output_tokens: int = 0
    jobs: int = 0
    attempts: int = 0
    unsuccessful: int = 0
    ms: int = 0

    def __add__(self, other: Figures) -> Figures:
        # Not by ``astuple``, which copies each number and takes ten times as long.
        return Figures(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.jobs + other.jobs,
            self.attempts + other.attempts,
            self.unsuccessful + other.unsuccessful,
            self.ms + other.ms,
        )

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """The figures of a stored row. Raises ``ValueError``."""
        figures = [int(figure) for figure in raw.split()]
        if len(figures) != len(cls.__slots__):
            raise ValueError("not a row of usage")
        return cls(*figures)


@dataclass(frozen=True, slots=True)
class Row:
    """What one credential of an owner has used of a model on a day. ``credential``: empty without a key's id."""

    day: date
    owner: str
    credential: str
    model: str
    figures: Figures

    def key(self, group: Sequence[str]) -> tuple[str, ...]:
        """The values of these of ``GROUPS``."""
        values = {"day": self.day.isoformat(), "model": self.model, "owner": self.owner, "credential": self.credential}
        return tuple(values[name] for name in group)


class UsageLedger:
    """The usage that is stored: of the last 400 days."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def owners(self, since: date, until: date) -> list[str]:
        """The owners with usage in the months of these days. Raises ``StoreUnavailable``."""
        months = _months(since, until)
        found: set[str] = set()
        for shard in self._shards:
            for names in read(shard, [("SMEMBERS", shard.key(f"usage-owners:{month}")) for month in months]):
                found |= {name.decode(errors="replace") for name in names or ()}
        return sorted(found)

    def rows(self, owners: Iterable[str], since: date, until: date) -> Iterator[Row]:
        """The rows of these owners from ``since`` to ``until``, both included. Raises ``StoreUnavailable``."""
        places = [(owner, month) for owner in owners for month in _months(since, until)]
        for shard in self._shards:
            for at in range(0, len(places), _HASHES_AT_ONCE):
                for row in _read(shard, places[at : at + _HASHES_AT_ONCE]):
                    if since <= row.day <= until:
                        yield row


def months_of(since: date, until: date) -> int:
    """The number of months with one of these days."""
    return len(_months(since, until))


def grouped(rows: Iterable[Row], group: Sequence[str], at_most: float = math.inf) -> dict[tuple[str, ...], Figures]:
    """The sums of rows with the same values of these of ``GROUPS``, in their order. Stops at the first sum after
    ``at_most``, so that a caller can refuse them before all are in memory."""
    sums: dict[tuple[str, ...], Figures] = {}
    for row in rows:
        key = row.key(group)
        sums[key] = sums.get(key, Figures()) + row.figures
        if len(sums) > at_most:
            break
    # By the keys alone: pairs take several times as long to compare.
    return {key: sums[key] for key in sorted(sums)}


def _months(since: date, until: date) -> list[str]:
    found, month = [], since.replace(day=1)
    while month <= until:
        found.append(f"{month:%Y-%m}")
        month = (month + timedelta(days=32)).replace(day=1)
    return found


def _read(shard: Shard, places: Sequence[tuple[str, str]]) -> Iterator[Row]:
    replies = read(shard, [("HGETALL", shard.key(f"usage:{owner}:{month}")) for owner, month in places])
    for (owner, month), reply in zip(places, replies, strict=True):
        for field, value in zip(reply[::2], reply[1::2], strict=True) if reply else ():
            row = _row(owner, month, field.decode(errors="replace"), value)
            if row is not None:
                yield row


def _row(owner: str, month: str, field: str, value: bytes) -> Row | None:
    """The row of a field; None for a sum, or a damaged row."""
    try:
        day, credential, model = field.split(" ", 2)
        return Row(date.fromisoformat(f"{month}-{day}"), owner, credential, model, Figures.decode(value))
    except ValueError:
        return None
