"""The state of a deployment."""

from __future__ import annotations

import orjson

from spool.redis.link import RedisLink
from spool.status.deployment import look
from spool.status.instances import Instance, Presence
from spool.switches.store import SwitchStore
from spool.switches.switch import checked
from tests.by_hand import OWNER, HandWorker, shards_of, submit


def test_state_of_a_deployment(link: RedisLink) -> None:
    """It has the processes, the slots, each model's and owner's jobs and what is wrong, all of it as JSON."""
    assert look(shards_of(link), 0.9).is_serving is False
    submit(link)
    submit(link)
    worker = HandWorker(link)
    worker.beat(free=3)
    worker.take()
    Presence(link, Instance.of_this_process("h/web:1", "web"), streams=lambda: 2).publish()
    SwitchStore(link).turn_on(checked("pause", "model:other"), by="cli")
    found = look(shards_of(link), 0.9)
    assert found.is_serving
    assert (found.workers, found.free_slots) == (1, 3)
    assert [(queue.model, queue.waiting, queue.running) for queue in found.queues] == [("demo", 1, 1)]
    assert found.owners == [(OWNER, 1, 1)]
    document = orjson.loads(orjson.dumps(found.document()))
    assert (document["streams"], document["versions"][0]["processes"]) == (2, 1)
    assert document["switches"][0]["target"] == "model:other"
    assert "persistence_off" in document["conditions"]
