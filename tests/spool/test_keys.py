"""The key map: whatever Spool writes to Redis is in it, under the type that it says."""

from __future__ import annotations

import re
import time
from typing import Any

from rig.batches import add, create, feed, feeder_of
from spool import keys
from spool.access.door import Counter, Door
from spool.access.failure_counts import FailureCounts
from spool.access.key_store import KeyStore
from spool.access.keys import Key
from spool.access.sealing import Sealing
from spool.access.signing_keys import SigningKeys
from spool.batches.batch import BatchOptions
from spool.batches.line import job_id_of
from spool.conditions import Conditions
from spool.conversations.conversation import Item
from spool.conversations.store import ConversationLimits, Conversations
from spool.files.file import Description
from spool.files.records import FileLimits
from spool.files.urls import files_at
from spool.following.batch_confirmation import BatchConfirmation
from spool.ids import new_batch_id
from spool.jobs.closed_models import ClosedModels
from spool.jobs.conversation_blocks import BLOCK_BYTES, divide
from spool.jobs.event_logs import watch as watch_events
from spool.jobs.job import SCHEMA, OnDisconnect, Priority
from spool.jobs.owner_limits import OwnerLimits
from spool.jobs.repeats import Joins, Repeat
from spool.jobs.scheduling import Conversation, Scheduling
from spool.jobs.scripts import arguments, script
from spool.jobs.submission import NewBatch
from spool.models.model import DEMO, Model
from spool.models.table import ModelTable
from spool.owners.limits import Owners, Rates, Section
from spool.redis.link import RedisLink
from spool.redis.server_check import FitnessCheck
from spool.status.instances import Instance, Presence
from spool.switches.store import SwitchStore
from spool.switches.switch import checked
from spool.webhooks.delivery_store import Deliveries, Result
from spool.webhooks.endpoint_store import Endpoints
from tests.by_hand import OWNER, HandWorker, age, keep, new_job, restart, shards_of, store_of, submit

_LINE = re.compile(r"^ {4}([a-z][A-Za-z:-]*) +(string|hash|zset|set|list|stream) ", re.MULTILINE)
_BLANKS = {
    "SCHEMA": "[0-9]+",
    "INDEX": "(?:pending:[^:]+|apart)",
    "ID": r"[jb]0-[0-9a-z]+",
    "MODEL": "[^:]+",
    "FENCE": "[0-9a-f]+",
    "OWNER": "(?![jb]0-)[^:]+",
    "KEY": "[^:]+",
    "MONTH": r"\d{4}-\d{2}",
    "CLASS": "(?:interactive|batch)",
    "FLOW": "(?:interactive|batch):[^:]+:[^:]*",
    "DIGEST": ".+",
    "NAME": "[ac]:.+",
    "CREDENTIAL": "[a-z2-7]{12}",
    "CONV": "conv_[0-9a-f]{32}",
    "FILE": "file-[0-9a-f]{37}",
    "N": "[0-9]+",
    "ATTEMPT": "[0-9a-f]+",
    "ENDPOINT": "we_[0-9a-f]{16}",
    "DELIVERY": "msg_[jb]0-.+",
    "LANE": "(?:we_[0-9a-f]{16}|[^:]+/[0-9a-f]{12})",
}


def documented() -> dict[str, str]:
    """The patterns of the docstring, as regular expressions, and the type of each."""
    patterns = {}
    for name, kind in _LINE.findall(keys.__doc__ or ""):
        pattern = ":".join(_BLANKS.get(part, re.escape(part)) for part in name.split(":"))
        patterns[rf"spool:\{{0\}}:{pattern}"] = kind
    return patterns


def test_map_is_read() -> None:
    """The docstring is in the form that this test reads."""
    lines = re.findall(r"^ {4}\S+ +[a-z]+ {2,}\S", keys.__doc__ or "", re.MULTILINE)
    assert len(documented()) == len(lines) > 60


def packed_batch(link: RedisLink, worker: HandWorker) -> None:
    """A batch that has ended, whose log is half packed."""
    ended = create(link, 1)
    feed(link)
    worker.finish(worker.take())
    link.call("DEL", f"{keys.prefix(0)}feeder:lock")
    piece = arguments("stage_packed", id=ended, attempt="a1", at=0, after_ms=0, lease_ms=60_000, data=b"x")
    next(iter(shards_of(link))).run(script("stage_packed"), *piece)


def test_every_key_is_in_the_map(link: RedisLink) -> None:
    """After all that can happen to a job, every key matches one line of the map, and every line was met."""
    store, worker = store_of(link), HandWorker(link)
    batch = new_batch_id(0)
    packed_batch(link, worker)
    SigningKeys(link).load()
    Presence(link, Instance.of_this_process("host/web:1", "web")).publish()
    SwitchStore(link).turn_on(checked("pause", "model:demo"), by="cli")
    Door(link).reserve([Counter("c:one", 1)], 1)
    FailureCounts(link).note("192.0.2.1")
    KeyStore(link).create(Key(id="", owner=OWNER, digest=b""))
    ModelTable(link, [DEMO]).publish("u", [DEMO])
    ModelTable(link, [DEMO]).publish_proof(DEMO, joins=True)
    watch_events(link, [OWNER])
    store.open_batch(batch, OWNER, 2, ttl_s=60, timeout_s=60)
    staged = new_batch_id(0)
    store.stage_batch(NewBatch(staged, OWNER, [new_job(), new_job()]), max_queued=9)
    store.submit(new_job(batch=staged), max_queued=9)
    store.submit(new_job(batch=batch, idempotency_key="k", body_digest="d", chat="c"), max_queued=9)
    store.submit(new_job(batch=batch, on_disconnect=OnDisconnect.CANCEL), max_queued=9)
    submit(link, on_disconnect=OnDisconnect.CANCEL, repeat=Repeat("k", Joins.NONE))
    said = [{"role": "user", "content": "x" * BLOCK_BYTES}] * 2
    submit(link, input={"messages": said, "params": {}}, divided=divide(said[:1]))
    worker.beat(free=1)
    first, _second = worker.take(), worker.take()
    worker.say(first, "text")
    worker.finish(first)
    conversation = Scheduling(conversation=Conversation("c"))
    worker.finish(worker.take_job(submit(link, scheduling=conversation).id))
    lost = submit(link).id
    for _ in range(2):
        worker.take_job(lost)
        age(link, lost, leased_until_ms=1)
        keep(link, lease_ms=60_000)
    worker.take_job(submit(link, priority=Priority.BATCH).id)
    submit(link)
    link.call("HSET", keys.job(submit(link).id), "schema", SCHEMA + 1)
    worker.take()
    broken = keys.job(submit(link).id)
    link.call("SET", broken, "no record")
    assert worker.claim() is None
    link.call("DEL", broken)
    submit(link)
    store.publish_limits(OwnerLimits(running=1))
    assert worker.claim() is None
    store.submit(new_job(owner="bob", batch=batch), max_queued=9)
    retried = worker.take()
    worker.claims.hand_back(retried.job.id, retried.fence, counts=False)
    submit(link, owner="bob")
    submit(link, scheduling=conversation)
    submit(link, scheduling=Scheduling(not_before=time.time() + 3600))
    busy = Model(name="busy", backend="openai", rpm=1000, tpm=1)
    submit(link, owner="carol", model="busy")
    refused = worker.take(busy)
    ClosedModels(shards_of(link)).refuse(refused, "HTTP 429")
    worker.claims.hand_back(refused.job.id, refused.fence, counts=False)
    link.call("HSET", f"{keys.prefix(0)}closed:busy", "until_ms", 1)
    link.call("DEL", f"{keys.prefix(0)}bucket:tpm:busy")
    worker.take(busy)
    for name in ("probes:busy", "bucket:rpm:busy", "bucket:tpm:busy"):
        link.call("PERSIST", f"{keys.prefix(0)}{name}")
    owner_limits(link, worker)
    webhooks(link)
    late_lines(link)
    keep(link, lease_ms=60_000)
    link.call("SET", f"{keys.prefix(0)}slots", "no hash")
    worker.beat(free=1)
    link.call("DEL", f"{keys.prefix(0)}displaced:slots")
    lines = create(link, 2)
    add(link, create(link, 0, options=BatchOptions(is_open=True)), 0, 1, key="k")
    feed(link)
    # It expires after two seconds.
    for name in ("feeder:lock", "open-feeder:lock"):
        link.call("PERSIST", f"{keys.prefix(0)}{name}")
    store.cancel(job_id_of(lines, 0), OWNER)
    # After the last round of the keeper, which empties the list of what happened.
    store.cancel(submit(link).id, OWNER)
    FitnessCheck(link, Conditions()).look()
    Sealing(link).load()
    files_at("", link, FileLimits(), 1).create(OWNER, [b"x"], lambda: Description("a", "batch", 60))
    Conversations(link, ConversationLimits(1000), ttl_s=60).create(OWNER, {}, [Item("msg_1", b"{}")])
    met = set()
    for raw in link.call("KEYS", "*"):
        key = raw.decode()
        lines = [line for line in documented().items() if re.fullmatch(line[0], key)]
        assert len(lines) == 1, f"{key} is not in the map"
        assert link.call("TYPE", key).decode() == lines[0][1], key
        met.add(lines[0][0])
    assert met == documented().keys()


def late_lines(link: RedisLink) -> None:
    """A line that ends just after a restart, before webs have reported."""
    shards = shards_of(link)
    BatchConfirmation(shards, dict, lambda: None).beat(lambda _s: None)
    batch = create(link, 1)
    feeder_of(link).feed(batch, [1], 1)
    restart(link)
    store_of(link).cancel(job_id_of(batch, 0), OWNER)


def owner_limits(link: RedisLink, worker: HandWorker) -> None:
    """Jobs of an owner with each kind of limit, some of which wait for it."""
    rates, small = Rates(max_running=9, rpm=1, tpm=1), Model(name="small", backend="demo")
    by_time = Section(rates=rates, models={"small": rates})
    by_key = Section(rates=Rates(max_running=9), fairness_key_max_running=1)
    store_of(link).publish_owners(Owners(sections={"eve": by_time, "dora": by_key}))
    for owner in ("eve", "dora"):
        for key in ("k", "k", "l"):
            submit(link, owner=owner, model="small", scheduling=Scheduling(fairness_key=key))
    while worker.claim(small):
        pass
    for raw in link.call("KEYS", f"{keys.prefix(0)}owner-bucket:*"):
        link.call("PERSIST", raw)


def webhooks(link: RedisLink) -> None:
    """Deliveries that were settled, failed, and are being sent; and one that was dropped."""
    endpoints, deliveries, shard = Endpoints(shards_of(link)), Deliveries(shards_of(link)), next(iter(shards_of(link)))
    endpoints.create("walt", "https://x.example/", [])
    endpoints.secrets_of("walt")
    for _ in range(2):
        store_of(link).cancel(submit(link, owner="walt").id, "walt")
    for outcome in ("delivered", "failed"):
        (delivery,) = deliveries.take(shard, 1)
        deliveries.settle(shard, delivery, Result(outcome))
    deliveries.replay(delivery.id, "walt")
    deliveries.take(shard, 1)
    for raw in link.call("KEYS", f"{keys.prefix(0)}sending*"):
        link.call("PERSIST", raw)
    link.call("HSET", f"{keys.prefix(0)}dropped-events", "walt", 1)


def test_every_field_of_the_record_is_in_the_map(link: RedisLink) -> None:
    """What scripts write into a job's record is named in the map."""
    store, worker = store_of(link), HandWorker(link)
    said = [{"role": "user", "content": "x" * BLOCK_BYTES}] * 2
    shared: dict[str, Any] = {"input": {"messages": said, "params": {}}, "divided": divide(said[:1])}
    submit(link, on_disconnect=OnDisconnect.CANCEL, continuable=True, webhook="{}", **shared)
    claim = worker.take()
    store.cancel(claim.job.id, OWNER)
    said = (keys.__doc__ or "").split("job:ID:input")[0]
    for field in link.call("HKEYS", keys.job(claim.job.id)):
        assert re.search(rf"\b{field.decode()}\b", said), f"{field.decode()} is not in the map"
