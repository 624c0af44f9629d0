"""The deliverer: sends the deliveries of one shard that are due, each in a greenlet of its own.

It runs in every worker, beside the jobs and not in their slots. A delivery is leased for one attempt; after a crash
another worker sends it again, under the same id.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import gevent
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool

from spool.deadline import Deadline
from spool.errors import SpoolError, UndecodableRecord, WebhookNotFound
from spool.fail_points import reach
from spool.jobs.shards import Shard
from spool.outage import Outage
from spool.webhooks.delivery import Delivery
from spool.webhooks.delivery_store import TRIED_FOR_S, Deliveries, Result
from spool.webhooks.endpoint import Endpoint
from spool.webhooks.endpoint_store import Endpoints
from spool.webhooks.events import payload
from spool.webhooks.sender import TIMEOUT_S, Answer, Resolve, Sender, SendFailed, resolve
from spool.webhooks.signature import Secrets, headers, valid

AT_ONCE = 64
"""Attempts of one process at a time."""
_IDLE_S = 0.5
_LOOKUPS_AT_ONCE = 3
"""Look-ups at a time of hosts that were resolved before, and of others: each holds one of the process's ten threads
until it ends."""
_RESOLVED_AT_MOST = 10_000
_TOO_LATE = "the host name was not resolved in time"
_HANDSHAKE_S = 1.0
_GONE = 410
_OF_THE_RECEIVER = {429, 502, 503, 504}
"""Answers that say nothing about the delivery itself."""

log = logging.getLogger("spool.webhooks")


class BoundedLookups:
    """Look-ups by ``lookup``, the system's resolver, a few at a time. Hosts that were resolved in time before have
    look-ups of their own, so that names whose look-up never ends do not hold them up."""

    def __init__(self, lookup: Resolve = resolve) -> None:
        self._lookup = lookup
        self._free = BoundedSemaphore(_LOOKUPS_AT_ONCE)
        self._free_of_resolved = BoundedSemaphore(_LOOKUPS_AT_ONCE)
        self._resolved: dict[str, None] = {}
        """Hosts that were resolved in time when they were last looked up, the latest last."""

    def __call__(self, host: str, port: int, timeout_s: float) -> Sequence[str]:
        """The addresses of a host. Raises ``OSError``, also after ``timeout_s``."""
        deadline = Deadline.after(timeout_s)
        free = self._free_of_resolved if host in self._resolved else self._free
        # Only a look-up that is still wanted gets a thread. It is busy until the resolver answers, however long the
        # delivery waits for it.
        if not free.acquire(timeout=timeout_s):
            raise TimeoutError(_TOO_LATE)
        try:
            found = gevent.spawn(self._resolve, free, host, port).get(timeout=deadline.left_s)
        except gevent.Timeout:
            self._resolved.pop(host, None)
            raise TimeoutError(_TOO_LATE) from None
        if isinstance(found, Exception):
            raise found
        self._resolved.pop(host, None)
        self._resolved[host] = None
        if len(self._resolved) > _RESOLVED_AT_MOST:
            del self._resolved[next(iter(self._resolved))]
        return found

    def _resolve(self, free: BoundedSemaphore, host: str, port: int) -> Sequence[str] | Exception:
        """The addresses, or the error: gevent logs what a greenlet raises, with the host."""
        try:
            return self._lookup(host, port, TIMEOUT_S)
        except (OSError, ValueError) as exc:
            return exc
        finally:
            free.release()


class Deliverer:
    """The deliverer of one shard. ``clock`` returns seconds since the epoch; ``observe`` is told each outcome."""

    def __init__(
        self,
        shard: Shard,
        deliveries: Deliveries,
        endpoints: Endpoints,
        sender: Sender,
        clock: Callable[[], float] = time.time,
        observe: Callable[[str], object] = lambda _outcome: None,
    ) -> None:
        self._shard = shard
        self._deliveries = deliveries
        self._endpoints = endpoints
        self._sender = sender
        self._clock = clock
        self._observe = observe
        self._sending = Pool(AT_ONCE)
        self._outage = Outage(log, "webhooks", "events are not delivered")

    def run(self, wait: Callable[[float], object], stopped: Callable[[], bool]) -> None:
        """Send what is due until ``stopped``; ``wait`` sleeps. Logs Redis errors and continues."""
        while not stopped():
            found: list[Delivery] = []
            try:
                found = self._deliveries.take(self._shard, self._sending.free_count())
                self._outage.worked()
            except SpoolError as exc:
                self._outage.failed(exc)
            if found:
                reach("delivery.taken")
            for delivery in found:
                self._sending.spawn(self._deliver_logged, delivery)
            if self._sending.full():
                self._sending.wait_available(_IDLE_S)
            elif not found:
                wait(_IDLE_S)

    def deliver_due(self) -> int:
        """Send what is due now, one after the other; returns the number of attempts. Raises ``StoreUnavailable``."""
        count = 0
        while found := self._deliveries.take(self._shard, 1):
            count += 1
            self.deliver(found[0])
        return count

    def deliver(self, delivery: Delivery) -> None:
        """One attempt. Raises ``StoreUnavailable``; the lease of the delivery ends then."""
        endpoint = None
        try:
            endpoint = self._endpoints.get(delivery.endpoint, delivery.owner) if delivery.endpoint else None
            if endpoint is not None and endpoint.disabled_ms:
                result = Result("over", error="the webhook is disabled")
            else:
                result = self._attempt(delivery, endpoint)
        except WebhookNotFound:
            result = Result("over", error="the webhook was deleted")
        except (UndecodableRecord, KeyError, ValueError):
            result = Result("over", error="the record is damaged")
        reach("delivery.sent")
        failing_s = self._deliveries.settle(self._shard, delivery, result)
        self._observe(result.outcome)
        _say(delivery, result)
        if endpoint is not None:
            self._disable_if_lost(endpoint, result, failing_s)

    def _attempt(self, delivery: Delivery, endpoint: Endpoint | None) -> Result:
        secrets: Secrets = endpoint.secrets if endpoint else self._endpoints.secrets_of(delivery.owner)
        now = self._clock()
        body = payload(delivery.record)
        signed = headers(delivery.id, int(now), body, valid(secrets, int(now * 1000)))
        sent = {"Content-Type": "application/json", "User-Agent": "Spool-Webhooks", **signed}
        try:
            answer = self._post(endpoint.url if endpoint else delivery.url, sent, body)
        except SendFailed as exc:
            return Result("failed", error=str(exc), is_answered=exc.was_connected)
        if 200 <= answer.status < 300:
            return Result("delivered", answer.status)
        error = f"the receiver answered {answer.status}"
        if answer.status == _GONE:
            return Result("over", answer.status, error)
        if 300 <= answer.status < 400:
            error += "; redirects are not followed"
        of_the_delivery = answer.status not in _OF_THE_RECEIVER
        return Result("failed", answer.status, error, of_the_delivery, answer.retry_after_s)

    def _post(self, url: str, sent: Mapping[str, str], body: bytes) -> Answer:
        """Send one request. Raises ``SendFailed``, also if a handshake goes on for too long."""
        try:
            with gevent.Timeout(TIMEOUT_S + _HANDSHAKE_S):
                return self._sender.post(url, sent, body)
        except gevent.Timeout:
            raise SendFailed(f"no answer within {TIMEOUT_S:g} s", was_connected=True) from None

    def _disable_if_lost(self, endpoint: Endpoint, result: Result, failing_s: float) -> None:
        if result.status == _GONE:
            self._endpoints.disable(endpoint, "the receiver answered 410 Gone")
        elif result.outcome == "failed" and failing_s >= TRIED_FOR_S:
            self._endpoints.disable(endpoint, f"no delivery has succeeded for 3 days; the last failure: {result.error}")
        else:
            return
        log.warning("webhook %s of %s is disabled", endpoint.id, endpoint.owner)

    def _deliver_logged(self, delivery: Delivery) -> None:
        try:
            self.deliver(delivery)
        except SpoolError as exc:
            # Its lease ends, and a worker sends it again.
            log.warning("delivery %s: its result is not recorded: %s", delivery.id, exc)
        except Exception:
            # The greenlet's boundary. The delivery's lease ends, and a worker sends it again.
            log.exception("delivery %s", delivery.id)


def _say(delivery: Delivery, result: Result) -> None:
    """Log an attempt, without its URL, which may contain a secret of the receiver."""
    if result.outcome == "delivered":
        log.debug("delivery %s: delivered by attempt %d", delivery.id, delivery.attempts)
    else:
        log.info("delivery %s: attempt %d failed: %s", delivery.id, delivery.attempts, result.error)
