"""The time that entries take from their worker to this process, by the time that the worker wrote into each.

It is measured for a few entries a second, so that a token costs nothing. It contains the difference of the two clocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime

_EVERY_S = 0.25
_AT = b'"at":"'
_HEAD_BYTES = 200


def written_at(message: bytes) -> float | None:
    """When the first entry of a doorbell's message was written, in seconds since the epoch."""
    begin = message.find(_AT, 0, _HEAD_BYTES)
    end = message.find(b'"', begin + len(_AT))
    if begin < 0 or end < 0:
        return None
    try:
        return datetime.fromisoformat(message[begin + len(_AT) : end].decode()).timestamp()
    except ValueError:
        return None


class DeliveryDelay:
    """Measures single messages. ``wall`` is the time since the epoch, in seconds."""

    def __init__(self, observe: Callable[[float], object], wall: Callable[[], float] = time.time) -> None:
        self._observe = observe
        self._wall = wall
        self._next = float("-inf")

    def look(self, messages: Sequence[object], now: float) -> None:
        """Measure the oldest of these messages, if it is time for one. ``now`` is monotonic. After a pause of this
        process, the newest of those that waited would show no delay."""
        message = messages[0]
        if now < self._next or not isinstance(message, list) or message[0] != b"message":
            return
        self._next = now + _EVERY_S
        at = written_at(message[2])
        if at is not None:
            self._observe(max(0.0, self._wall() - at))
