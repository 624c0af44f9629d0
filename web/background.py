"""The background work of a web process: it follows logs, keeps and feeds jobs, and looks at what can change outside."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import gevent

from spool.background import spawn_forever
from spool.conditions import NAMES
from spool.errors import StoreUnavailable
from spool.jobs.closed_models import ClosedModels
from spool.jobs.job import SCHEMA
from spool.process_health import watch
from spool.status.instances import PUBLISH_S
from spool.switches.board import LOOK_S
from web.condition_gauge import show_condition
from web.queue_gauges import QueueGauges, look_or_leave
from web.services import State

_LOOK_S = 2.0
_CREDENTIALS_S = 1.0
_SWEEP_S = 10.0


def start(services: State) -> None:
    """Start everything, and connect to the broker before the first job needs it."""
    for name in NAMES:
        show_condition(name, False)
    services.follower.start()
    spawn_forever(partial(services.confirmation.run, gevent.sleep, lambda: False))
    for keeper in services.keepers:
        spawn_forever(partial(keeper.run, gevent.sleep, lambda: services.draining))
    for feeder in services.feeders:
        spawn_forever(partial(feeder.run, gevent.sleep, lambda: services.draining))
    for work in (_watch_redis, _watch_credentials, _watch_switches, _publish, _watch_queue, _sweep_files):
        spawn_forever(partial(work, services))
    services.ticker.add(services.queue_watch)
    spawn_forever(services.ticker.run)
    spawn_forever(watch("web", SCHEMA))
    services.bell.start()


def _watch_redis(services: State) -> None:
    """Check Redis periodically: the server can be reconfigured or replaced at any time."""
    while not services.draining:
        services.fitness.look()
        _look_at_files(services)
        try:
            services.store.publish_limits(services.limits)
            services.store.publish_owners(services.owners.content)
            services.set_aside = services.store.set_aside()
        except StoreUnavailable:
            services.set_aside = None
        gevent.sleep(_LOOK_S)


def _look_at_files(services: State) -> None:
    """Read the owners file and the models file again, if they have changed."""
    services.owners.look()
    if services.upstreams.look():
        upstreams = services.upstreams.content
        services.models.configure(services.settings.models_of(upstreams), [upstream.name for upstream in upstreams])


def _watch_queue(services: State) -> None:
    """Keep the gauges of the queue, and which models are closed: no request for either waits for Redis."""
    gauges, closed = QueueGauges(services.shards, services.store), ClosedModels(services.shards)
    while not services.draining:
        look_or_leave(gauges, services.models.all())
        try:
            services.closed_models = closed.look()
        except StoreUnavailable:
            services.closed_models = {}
        gevent.sleep(_LOOK_S)


def _watch_switches(services: State) -> None:
    while True:
        services.switches.look_or_leave()
        services.obey_switches()
        gevent.sleep(LOOK_S)


def _publish(services: State) -> None:
    while not services.draining:
        services.presence.publish_or_leave()
        gevent.sleep(PUBLISH_S)


def _watch_credentials(services: State) -> None:
    while True:
        services.authenticator.look()
        gevent.sleep(_CREDENTIALS_S)


def _sweep_files(services: State) -> None:
    """Delete expired files and what is left of uploads, in each process: a sweep without work is one read."""
    while not services.draining:
        gevent.sleep(_SWEEP_S)
        with suppress(StoreUnavailable):
            services.files.sweep()
