"""The doorbell: one pub/sub connection for all channels of a process.

It may miss messages: those published during a reconnect are lost. So ``confirmed`` is called for each channel after
every (re)connect, and the listener then reads the stream.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import gevent
from gevent.event import Event
from gevent.greenlet import Greenlet

from spool.background import spawn_forever
from spool.errors import StoreUnavailable
from spool.following.delivery_delay import DeliveryDelay
from spool.metrics import DELIVERY
from spool.outage import Outage
from spool.redis.link import RedisLink, Subscription

log = logging.getLogger("spool.doorbell")

_AT_ONCE = 500
_SILENCE_S = 5.0
_BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class Doorbell:
    """Listens on channels. ``channels`` lists all of them, for each reconnect. ``rung`` gets a channel and a message,
    ``confirmed`` a channel whose subscription is now active. ``quiet`` is called after each batch of messages."""

    def __init__(
        self,
        link: RedisLink,
        channels: Callable[[], Iterable[bytes]],
        rung: Callable[[bytes, bytes], None],
        confirmed: Callable[[bytes], None],
        quiet: Callable[[], None],
    ) -> None:
        self._link = link
        self._channels = channels
        self._rung = rung
        self._confirmed = confirmed
        self._quiet = quiet
        self._outbox: list[tuple[str, bytes]] = []
        self._has_outbox = Event()
        self._subscription: Subscription | None = None
        self._heard_at = float("-inf")
        self._delay = DeliveryDelay(DELIVERY.observe)

    def start(self) -> list[Greenlet[..., None]]:
        """Start two greenlets for the life of the process: one reads, one writes."""
        return [spawn_forever(self._listen), spawn_forever(self._write)]

    def close(self) -> None:
        """Close the connection; a started doorbell reconnects."""
        if self._subscription is not None:
            self._subscription.close()

    def listen(self, channel: bytes) -> None:
        """Subscribe to a channel."""
        self._send("SUBSCRIBE", channel)

    def ignore(self, channel: bytes) -> None:
        """Unsubscribe from a channel."""
        self._send("UNSUBSCRIBE", channel)

    def check(self, now: float) -> None:
        """Ping a silent connection, and close one that does not answer. Call it regularly."""
        silent_s = now - self._heard_at
        if self._subscription is None or silent_s < _SILENCE_S:
            return
        if silent_s > 2 * _SILENCE_S:
            self._subscription.close()
        else:
            self._send("PING", b"spool")

    def _listen(self) -> None:
        failures, outage = 0, Outage(log, "doorbell", "logs are polled instead")
        while True:
            subscription = None
            try:
                subscription = self._link.subscription()
                subscription.connect()
                self._subscription, self._heard_at = subscription, time.monotonic()
                for channel in self._channels():
                    self._send("SUBSCRIBE", channel)
                for messages in subscription.messages():
                    self._heard_at = time.monotonic()
                    for message in messages:
                        self._heard(message)
                    self._delay.look(messages, self._heard_at)
                    self._quiet()
                    if failures:
                        outage.worked()
                    failures = 0
            except StoreUnavailable as exc:
                outage.failed(exc)
            finally:
                self._subscription = None
                if subscription is not None:
                    subscription.close()
            gevent.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            failures += 1

    def _heard(self, message: object) -> None:
        if not isinstance(message, list):
            return
        if message[0] == b"message":
            self._rung(message[1], message[2])
        elif message[0] == b"subscribe":
            self._confirmed(message[1])

    def _send(self, command: str, channel: bytes) -> None:
        self._outbox.append((command, channel))
        self._has_outbox.set()

    def _write(self) -> None:
        """Send the queued commands in batches, so that a thousand attaches need few commands."""
        while True:
            self._has_outbox.wait()
            self._has_outbox.clear()
            outbox, self._outbox = self._outbox, []
            subscription = self._subscription
            if subscription is None:
                # The next connect subscribes to all channels.
                continue
            try:
                for command, channels in _runs(outbox):
                    subscription.send(command, *channels)
            except StoreUnavailable:
                subscription.close()


def _runs(outbox: list[tuple[str, bytes]]) -> list[tuple[str, list[bytes]]]:
    """Join adjacent commands of the same kind, in order, with at most ``_AT_ONCE`` channels each."""
    runs: list[tuple[str, list[bytes]]] = []
    for command, channel in outbox:
        if runs and runs[-1][0] == command and command != "PING" and len(runs[-1][1]) < _AT_ONCE:
            runs[-1][1].append(channel)
        else:
            runs.append((command, [channel]))
    return runs
