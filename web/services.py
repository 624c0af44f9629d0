"""The services that all routes of one web process share: Redis, the follower, the bell, the model table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import gevent
from flask import current_app
from gevent import Greenlet

from spool.access.door import Door
from spool.access.failure_counts import FailureCounts
from spool.access.key_store import KeyStore
from spool.access.sealing import Sealing
from spool.access.signing_keys import SigningKeys, parse_secrets
from spool.batches.feeder import Feeder
from spool.batches.pieces import Pieces
from spool.batches.store import Batches
from spool.bell import Bell, celery_app
from spool.bell_queue import bell_queue
from spool.conditions import Conditions
from spool.conversations.store import ConversationLimits, Conversations
from spool.errors import Draining, SettingsError, StoreFull, StoreUnfit
from spool.files.store import Files
from spool.files.urls import files_at
from spool.following.batch_confirmation import BatchConfirmation
from spool.following.follower import Follower
from spool.instance import web_instance
from spool.jobs.closed_models import ClosedModel
from spool.jobs.keeper import Keeper
from spool.jobs.origin import Origin
from spool.jobs.owner_limits import OwnerLimits
from spool.jobs.seen_batches import SeenBatches
from spool.jobs.shards import Shards
from spool.jobs.store import JobStore
from spool.models.model import Upstream
from spool.models.table import ModelTable
from spool.owners.limits import NO_BUDGET, Owners
from spool.redis.link import RedisLink
from spool.redis.server_check import FitnessCheck
from spool.redis.urls import broker_url_from
from spool.reread_file import RereadFile
from spool.settings import WebSettings
from spool.status.instances import Instance, Presence
from spool.switches.board import Board
from spool.switches.store import SwitchStore
from spool.webhooks.delivery_store import Deliveries
from spool.webhooks.endpoint_store import Endpoints
from web.access.authenticator import Authenticator
from web.access.request_limits import RequestLimits
from web.access.signer import Signer
from web.batch_results import ResultLines
from web.checkpoints import Checkpoints
from web.condition_gauge import show_condition
from web.folds import Folds
from web.limits.streams import Slot, StreamSlots, streams_for
from web.limits.unsent import Unsent
from web.limits.uploads import Uploads
from web.queue_watch import QueueWatch
from web.ticker import Ticker

log = logging.getLogger("spool.web")

_WEBSOCKET_INPUT_BYTES = 32 * 1024 * 1024
"""Bytes of incomplete and queued messages on all WebSockets of a process."""
_FILE_UPLOADS = 32
"""Files that a process receives at a time. Each takes up to 1 MiB, or 12 MiB on its way to S3."""
_UPLOAD_LEASES = 2.0
"""How long an upload may be silent before the sweep deletes it, as a multiple of the time limit of a body."""


@dataclass
class State:
    """The services of one process. Building it does not touch Redis; ``web.background`` starts its work."""

    settings: WebSettings
    authenticator: Authenticator
    shards: Shards
    store: JobStore
    batches: Batches
    result_lines: ResultLines
    pieces: Pieces
    feeders: list[Feeder]
    follower: Follower
    confirmation: BatchConfirmation
    bell: Bell
    models: ModelTable
    keepers: list[Keeper]
    slots: StreamSlots
    folds: Folds
    unsent: Unsent
    limits: OwnerLimits
    owners: RereadFile[Owners]
    upstreams: RereadFile[tuple[Upstream, ...]]
    conditions: Conditions
    fitness: FitnessCheck
    queue_watch: QueueWatch
    sealing: Sealing
    switches: Board
    presence: Presence
    instance: str
    files: Files
    file_uploads: StreamSlots
    conversations: Conversations
    endpoints: Endpoints
    deliveries: Deliveries
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    websocket_input: Uploads = field(default_factory=lambda: Uploads(_WEBSOCKET_INPUT_BYTES))
    ticker: Ticker = field(default_factory=Ticker)
    draining: bool = False
    is_drained: bool = False
    """A switch drains this instance."""
    drain_end: Greenlet[..., None] | None = None
    """Ends that drain once its streams have left."""
    set_aside: int | None = None
    """Jobs whose damaged records cannot end, at the last look; None while Redis does not answer."""
    closed_models: Mapping[str, ClosedModel] = field(default_factory=dict)
    """The models whose upstreams refuse jobs, at the last look; none while Redis does not answer."""

    @classmethod
    def build(cls, settings: WebSettings) -> State:
        """The state of this process, built from its settings. Raises ``SettingsError``."""
        redis_url = settings.redis_url.get_secret_value()
        if not redis_url:
            raise SettingsError("SPOOL_REDIS_URL is not set (`spool run` sets it to the embedded server's)")
        link = RedisLink(redis_url, connections=6, name="spool-web")
        shards = Shards.on(link, settings.shards)
        store, batches = JobStore(shards), Batches(shards, seen := SeenBatches())
        # The follower has its own link, so that a burst of requests cannot delay live streams.
        follower = Follower(RedisLink(redis_url, connections=3, name="spool-follower"), seen=seen)
        bell = _bell(settings)
        limits = settings.owner_limits(streams_for(settings.max_streams))
        slots = StreamSlots(streams_for(settings.max_streams), limits.streams)
        conditions = Conditions(show_condition)
        switches, instance = Board(SwitchStore(link)), web_instance(settings.port)
        upstreams = settings.reread_upstreams()
        models = _model_table(settings, link, upstreams.content)
        return cls(
            settings=settings,
            authenticator=_authenticator(settings, link),
            shards=shards,
            store=store,
            batches=batches,
            result_lines=ResultLines(batches),
            pieces=Pieces(shards),
            # A web feeds where no worker does, so that it has time for its streams.
            feeders=[Feeder(shard, store, bell.ring, keeps=False) for shard in shards],
            follower=follower,
            confirmation=BatchConfirmation(shards, follower.seen_batches, follower.disconnect),
            bell=bell,
            models=models,
            queue_watch=QueueWatch(store, follower.queued_feeds, models.max_running, is_paused=switches.pauses),
            keepers=_keepers(settings, shards, bell),
            unsent=Unsent(settings.max_unsent_bytes),
            slots=slots,
            conditions=conditions,
            fitness=_fitness(settings, link, conditions),
            folds=Folds(follower),
            sealing=Sealing(link),
            switches=switches,
            presence=_presence(link, instance, slots, switches),
            instance=instance,
            files=files_at(settings.files_url, link, settings.file_limits(), _UPLOAD_LEASES * settings.body_s),
            file_uploads=StreamSlots(_FILE_UPLOADS, max(1, int(_FILE_UPLOADS * (limits.share or 1)))),
            conversations=Conversations(link, ConversationLimits(settings.max_prompt_bytes), ttl_s=settings.job_ttl_s),
            endpoints=Endpoints(shards),
            deliveries=Deliveries(shards),
            limits=limits,
            owners=settings.owners(),
            upstreams=upstreams,
        )

    @property
    def streams_at_most(self) -> int:
        """The most streams of this process by its settings."""
        return streams_for(self.settings.max_streams)

    @property
    def spread_s(self) -> float:
        """The seconds over which a drain spreads the ends of the streams: most of the drain time."""
        return self.settings.drain_s * 0.6

    def drain(self) -> None:
        """End the streams, spread over ``spread_s``; readers reconnect to another process."""
        if not self.draining:
            self.draining = True
            self.follower.drain(self.spread_s)

    @property
    def is_leaving(self) -> bool:
        """Whether this process takes no streams, because it stops or is drained by a switch."""
        return self.draining or self.is_drained

    def obey_switches(self) -> None:
        """Apply the switches that concern this whole process."""
        most = self.switches.max_streams
        self.slots.limit = self.streams_at_most if most is None else min(most, self.streams_at_most)
        notice = self.switches.notice
        self.follower.show_notice(notice.reason if notice else None)
        is_drained = self.switches.drain_of(self.instance) is not None
        if is_drained == self.is_drained or self.draining:
            return
        self.is_drained = is_drained
        if is_drained:
            self.follower.drain(self.spread_s)
            # Polls go on as before once the streams have left.
            self.drain_end = gevent.spawn_later(self.spread_s + 1, self._end_drain)
        else:
            if self.drain_end is not None:
                # It would end the next drain too early.
                self.drain_end.kill(block=False)
            self.follower.resume()

    def _end_drain(self) -> None:
        if not self.draining:
            self.follower.resume()

    def refuse_when_full(self) -> None:
        """Raise ``StoreFull`` above the memory watermark, so that running jobs can still end. Or ``StoreUnfit``."""
        self.refuse_unfit()
        message = self.conditions.message("memory_over_watermark")
        if message is not None:
            raise StoreFull(message)

    def refuse_unfit(self) -> None:
        """Raise ``StoreUnfit`` if Redis is configured to lose data, or its user lacks a permission."""
        message = self.conditions.message("redis_unfit") or self.conditions.message("permission_missing")
        if message is not None:
            raise StoreUnfit(message)

    def refuse_streams(self, owner: str) -> None:
        """Raise ``Draining`` or ``TooManyStreams`` if this owner cannot open another stream."""
        if self.is_leaving:
            raise Draining
        self.slots.refuse_when_full(owner)

    def limits_of(self, owner: str, origin: Origin) -> OwnerLimits:
        """The limits of a submit of this owner: the settings', its budget in the owners file, and its credential's."""
        budget = self.owners.content.of(owner).budget
        if budget == origin.budget == NO_BUDGET:
            return self.limits
        return replace(self.limits, budget=budget, credential_budget=origin.budget)

    def hold_stream(self, owner: str, slot: Slot) -> None:
        """Acquire a stream slot before its job is written, so that a refusal leaves no job. Raises ``Draining`` or
        ``TooManyStreams``."""
        self.refuse_streams(owner)
        slot.take(owner)


def _bell(settings: WebSettings) -> Bell:
    redis_url, broker_url = settings.redis_url.get_secret_value(), settings.broker_url.get_secret_value()
    app = celery_app(broker_url or broker_url_from(redis_url))
    return Bell(bell_queue(app, broker_url or redis_url))


def _model_table(settings: WebSettings, link: RedisLink, upstreams: tuple[Upstream, ...]) -> ModelTable:
    names = [upstream.name for upstream in upstreams]
    return ModelTable(link, settings.models_of(upstreams), names, settings.default_model)


def _keepers(settings: WebSettings, shards: Shards, bell: Bell) -> list[Keeper]:
    return [Keeper(shard, bell.ring, lease_s=settings.lease_s, max_attempts=settings.max_attempts) for shard in shards]


def _fitness(settings: WebSettings, link: RedisLink, conditions: Conditions) -> FitnessCheck:
    return FitnessCheck(
        link, conditions, watermark=settings.memory_watermark, counts_workers=True, shards=settings.shards
    )


def _presence(link: RedisLink, instance: str, slots: StreamSlots, switches: Board) -> Presence:
    return Presence(
        link,
        Instance.of_this_process(instance, "web"),
        streams=lambda: slots.taken,
        is_drained=lambda: switches.drain_of(instance) is not None,
    )


def _authenticator(settings: WebSettings, link: RedisLink) -> Authenticator:
    limits = RequestLimits(Door(link), settings.requests_per_minute, settings.address_requests_per_minute)
    return Authenticator(settings, KeyStore(link), _signer(settings, link), limits, FailureCounts(link))


def _signer(settings: WebSettings, link: RedisLink) -> Signer:
    given = parse_secrets(settings.secret.get_secret_value())
    return Signer((lambda: given) if given else SigningKeys(link).load)


def state() -> State:
    """The state of the application that handles this request."""
    return cast(State, current_app.extensions["spool"])
