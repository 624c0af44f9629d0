"""What the routes of one web process share: the way to Redis, the follower, the bell, the model table."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import cast

import gevent
from flask import current_app

from spool.background import spawn_forever
from spool.bell import Bell, celery_app
from spool.embedded import broker_url_from
from spool.errors import Draining, SettingsError, StoreFull, StoreUnavailable
from spool.follower import Follower
from spool.keeper import Keeper
from spool.model_table import ModelTable
from spool.redis_link import RedisLink
from spool.settings import WebSettings
from spool.store import JobStore
from web.streams import StreamSlots

log = logging.getLogger("spool.web")

_MEMORY_CHECK_S = 2.0


@dataclass
class State:
    """One per process. Built without touching Redis; ``start`` begins what runs beside the requests."""

    settings: WebSettings
    link: RedisLink
    store: JobStore
    follower: Follower
    bell: Bell
    models: ModelTable
    keeper: Keeper
    slots: StreamSlots
    draining: bool = False
    memory_full: bool = False
    beaten_at: float = field(default_factory=time.monotonic)

    @classmethod
    def build(cls, settings: WebSettings) -> State:
        """The state of this process, from its settings."""
        redis_url = settings.redis_url.get_secret_value()
        if not redis_url:
            raise SettingsError("SPOOL_REDIS_URL is not set (`spool run` sets it to the embedded server's)")
        link = RedisLink(redis_url, connections=6, name="spool-web")
        bell = Bell(celery_app(settings.broker_url.get_secret_value() or broker_url_from(redis_url)))
        # Logs are read over a link of their own, so that a storm of requests cannot hold up what is live.
        follower = Follower(RedisLink(redis_url, connections=3, name="spool-follower"))
        return cls(
            settings=settings,
            link=link,
            store=JobStore(link),
            follower=follower,
            bell=bell,
            models=ModelTable(
                link, settings.static_models(), [u.name for u in settings.upstreams()], settings.default_model
            ),
            keeper=Keeper(link, bell.ring, shard=0, lease_s=settings.lease_s, max_attempts=settings.max_attempts),
            slots=StreamSlots(settings.max_streams),
        )

    def start(self) -> None:
        """Follow, keep, watch the memory, and open the broker's connection before the first job needs it."""
        self.follower.start()
        spawn_forever(lambda: self.keeper.run(gevent.sleep, lambda: self.draining))
        spawn_forever(self._watch_memory)
        self.bell.start()

    @property
    def spread_s(self) -> float:
        """Over how long the streams' ends are spread when this process drains: most of the drain time."""
        return self.settings.drain_s * 0.6

    def drain(self) -> None:
        """Streams end, spread over most of the drain time; whoever reads goes to another process."""
        if not self.draining:
            self.draining = True
            self.follower.drain(self.spread_s)

    def refuse_when_full(self) -> None:
        """Raise ``StoreFull`` above the watermark: jobs that run must be able to end."""
        if self.memory_full:
            raise StoreFull("Redis is nearly out of memory; no new jobs for now")

    def refuse_streams(self) -> None:
        """Raise ``Draining`` or ``TooManyStreams`` where no stream can begin."""
        if self.draining:
            raise Draining
        self.slots.refuse_when_full()

    def _watch_memory(self) -> None:
        while not self.draining:
            try:
                self.memory_full = self._memory_used() >= self.settings.memory_watermark
            except StoreUnavailable as exc:
                log.warning("memory not known: %s", exc)
            gevent.sleep(_MEMORY_CHECK_S)

    def _memory_used(self) -> float:
        """The part of maxmemory that is used; 0 where there is no limit."""
        lines = self.link.call("INFO", "memory").decode().splitlines()
        info = dict(line.split(":", 1) for line in lines if ":" in line)
        limit = int(info.get("maxmemory", 0))
        return int(info.get("used_memory", 0)) / limit if limit else 0.0


def state() -> State:
    """The state of the application that handles this request."""
    return cast(State, current_app.extensions["spool"])
