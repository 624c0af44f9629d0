"""Something that is done to Redis all the time while a test goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spool.redis.link import RedisLink
from tests.stack import Stack


@contextmanager
def again_and_again(stack: Stack, do: Callable[[RedisLink], object], every_s: float) -> Iterator[list[int]]:
    """Do it, on a connection of its own; how often it was done, as the one number of a list."""
    times, over = [0], threading.Event()
    link = RedisLink(stack.redis.url, connections=1)

    def run() -> None:
        while not over.wait(every_s):
            do(link)
            times[0] += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join(5)
        link.close()
