"""``python -m bench.peers.producer CONTROL redis SOCKET | nchan PORT``: paces tokens into a peer that has no producer.

It waits at the Unix socket CONTROL for orders, one JSON line per connection, answers each with a line when it is ready
to begin, and carries it out in a thread; to an empty line it answers how many tokens of the last order the peer has
taken. What is due goes out together, however much that is, so a late producer catches up and the stamps tell. Nothing
waits for the peer's answers: they are read as they come, and refusals are counted.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.peers.targets import Nchan, RedisStreams, Target

_WAIT_S = 0.01


@dataclass(frozen=True)
class Order:
    """``tokens`` for each of ``jobs``, called ``RUN-0``, ``RUN-1``, …; ``start_s`` is when the first one is due."""

    run: str
    jobs: int
    rate: float
    tokens: int
    start_s: float

    @property
    def names(self) -> list[str]:
        """The jobs."""
        return [f"{self.run}-{number}" for number in range(self.jobs)]


def produce(order: Order, target: Target) -> None:
    """Carry the order out. Ends when everything was written and all of it answered."""
    total, step_s = order.jobs * order.tokens, 1 / order.jobs / order.rate
    sent, latest_s = 0, 0.0
    while sent < total:
        now_s = time.time()
        due = min(total, int((now_s - order.start_s) / step_s) + 1) if now_s >= order.start_s else 0
        if sent < due:
            latest_s = max(latest_s, now_s - order.start_s - sent * step_s)
            _add(order, target, range(sent, due), now_s)
            sent = due
        target.exchange(order.start_s + sent * step_s - time.time())
    while target.busy:
        target.exchange(_WAIT_S)
    # A reader that is behind gets what is left before its stream is taken away, where that is how a stream ends.
    time.sleep(target.linger_s)
    target.close_streams()
    while target.busy:
        target.exchange(_WAIT_S)
    target.close()
    print(
        f"{order.run}: {sent} tokens, {latest_s * 1000:.2f} ms late at most, refusals: {dict(target.refused)}",
        flush=True,
    )


def _add(order: Order, target: Target, indexes: range, now_s: float) -> None:
    """The tokens with these indexes, which count through the jobs: their due times go up evenly."""
    at = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3].encode()
    start_us, step_us = order.start_s * 1e6, 1e6 / order.jobs / order.rate
    for index in indexes:
        number, job = divmod(index, order.jobs)
        stamp = int(start_us + index * step_us)
        target.add(job, b'{"id":%d,"kind":"token","at":"%bZ","text":"%d "}' % (number + 1, at, stamp))
        if number + 1 == order.tokens:
            target.end(job, b'{"id":%d,"kind":"done","at":"%bZ","finish_reason":"stop"}' % (number + 2, at))


def main() -> None:
    """Take orders until killed."""
    control, kind, where = sys.argv[1:]
    with contextlib.suppress(OSError):  # else the kernel may wake a waiting thread 50 us late
        Path("/proc/self/timerslack_ns").write_text("1000")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(control)
        listener.listen()
        while True:
            sock, _ = listener.accept()
            with sock:
                line = sock.makefile().readline().strip()
                if line:
                    order = Order(**json.loads(line))
                    target = RedisStreams(order.names, where) if kind == "redis" else Nchan(order.names, int(where))
                    threading.Thread(target=produce, args=(order, target), daemon=True).start()
                taken = 0 if line else min(target.taken, order.jobs * order.tokens)
                sock.sendall(b"%d\n" % taken)


if __name__ == "__main__":
    main()
