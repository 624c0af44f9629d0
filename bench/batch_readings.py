"""Readers of a batch's results, and the tally of what they have read."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

_PAUSE_S = 0.2
_SILENT_S = 30.0


@dataclass(slots=True)
class Tally:
    """The entries of a batch's log, in the order in which they were read."""

    total: int
    last: int = 0
    """The id of the last entry: the cursor of the next request."""
    end: str = ""
    """The kind of the terminal entry."""
    out_of_order: int = 0
    jumps: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    _seen: Counter[int] = field(default_factory=Counter)

    def add(self, entry: dict[str, Any]) -> None:
        """Count one entry. After a restart of Redis the log goes on under a number that is far ahead."""
        if entry["kind"] == "restarted":
            self.last = entry["id"]
            self.jumps += 1
            return
        self.out_of_order += entry["id"] != self.last + 1
        self.last = entry["id"]
        if entry["kind"] == "line":
            self._seen[entry["batch_index"]] += 1
            self.statuses[entry["status"]] += 1
        else:
            self.end = entry["kind"]

    @property
    def lines(self) -> int:
        """The number of results so far."""
        return self._seen.total()

    @property
    def duplicates(self) -> int:
        """Results of lines that had one before."""
        return self.lines - len(self._seen)

    @property
    def missing(self) -> int:
        """Lines without a result."""
        return sum(index not in self._seen for index in range(self.total))


class BatchReader(threading.Thread):
    """Reads a batch's stream to its end, each time from another web and after the last entry that it has."""

    def __init__(self, urls: Sequence[str], batch: str, total: int) -> None:
        super().__init__(daemon=True)
        self.tally = Tally(total)
        self.connections = 0
        self.is_stopped = False
        self._urls = urls
        self._batch = batch

    def run(self) -> None:
        """Read until the terminal entry, or until ``is_stopped``."""
        for url in itertools.cycle(self._urls):
            if self.tally.end or self.is_stopped:
                return
            try:
                self._read(url)
            except httpx.HTTPError:
                time.sleep(_PAUSE_S)

    def _read(self, url: str) -> None:
        address = f"{url}/batches/{self._batch}/stream?after={self.tally.last}"
        accept = {"Accept": "application/x-ndjson"}
        with httpx.stream("GET", address, headers=accept, timeout=_SILENT_S) as answer:
            self.connections += 1
            answer.raise_for_status()
            for line in answer.iter_lines():
                entry = json.loads(line) if line.strip() else {}
                if "id" in entry and "kind" in entry:
                    self.tally.add(entry)
                if self.is_stopped:
                    return


def ids_of(lines: Iterable[str]) -> Counter[str]:
    """How many lines of a result file have each ``custom_id``."""
    return Counter(json.loads(line)["custom_id"] for line in lines)
