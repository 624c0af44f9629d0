"""Lines of batches: few are made at a time, and none is held by a request that waits."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
from gevent.event import Event

from spool.jobs.log import Row
from web.batch_results import AT_ONCE, ResultLines


class Log:
    """A log of three entries, whose reads wait until they may go on; counts the reads at a time."""

    def __init__(self) -> None:
        self.may_go_on = Event()
        self.reading = self.most = 0

    def each_result(self, batch_id: str, after: int = 0) -> Iterator[Row]:
        for number in range(after + 1, 4):
            self.reading += 1
            self.most = max(self.most, self.reading)
            self.may_go_on.wait(10)
            self.reading -= 1
            yield number, f"{batch_id} {number}".encode()


def test_lines_of_a_log() -> None:
    """They come in the order of the entries; an entry without a line is left out."""
    log = Log()
    log.may_go_on.set()
    lines = ResultLines(log)
    assert list(lines.of("b", 0, lambda raw: b"" if raw == b"b 2" else raw)) == [b"b 1", b"b 3"]
    assert list(lines.of("b", 2, bytes)) == [b"b 3"]


def test_few_are_made_at_a_time() -> None:
    """Readers beyond the limit wait their turn before they read, and all get all lines. One that does not take its line
    keeps no turn."""
    log = Log()
    lines = ResultLines(log)
    slow = lines.of("slow", 0, bytes)
    log.may_go_on.set()
    assert next(slow) == b"slow 1"
    log.may_go_on.clear()
    readers = [gevent.spawn(list, lines.of(f"b{n}", 0, bytes)) for n in range(3 * AT_ONCE)]
    gevent.idle()
    assert log.reading == AT_ONCE
    log.may_go_on.set()
    gevent.joinall(readers, timeout=10)
    assert [len(one.value) for one in readers] == [3] * len(readers)
    assert log.most == AT_ONCE
    assert list(slow) == [b"slow 2", b"slow 3"]
