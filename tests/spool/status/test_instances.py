"""The processes that run, as they publish themselves."""

from __future__ import annotations

from dataclasses import replace

from spool.keys import prefix
from spool.redis.link import RedisLink
from spool.status.instances import Instance, Presence, Running, read_instances, running

OWN = Instance("host/web:1", "web", 7, "0.1.0", "a" * 40, 4, 1000, files=1024)
UNTIL = f"{prefix(0)}instances-until"


def test_process_publishes_itself_and_reads_the_others(link: RedisLink) -> None:
    """Each knows all, with their streams and models, and by how much its clock is ahead of Redis's."""
    seconds, _micros = link.call("TIME")
    web = Presence(link, OWN, streams=lambda: 3, clock=lambda: int(seconds) + 100.0)
    worker = Presence(link, replace(OWN, program="worker", pid=8), models=lambda: ["demo"])
    web.publish()
    web.publish()
    worker.publish()
    assert [(one.program, one.streams, one.models) for one in worker.all] == [("web", 3, ()), ("worker", 0, ("demo",))]
    assert 95_000 < worker.all[0].skew_ms < 101_000
    assert read_instances(link) == worker.all


def test_process_that_is_gone_is_forgotten(link: RedisLink) -> None:
    """It counts until its time has passed; then its record is removed."""
    Presence(link, OWN).publish()
    link.call("ZADD", UNTIL, 1, "host/web:1#7")
    assert read_instances(link) == []
    assert link.call("EXISTS", UNTIL, f"{prefix(0)}instances") == 0


def test_record_of_another_version(link: RedisLink) -> None:
    """Fields that this version does not know are ignored, and a record that it cannot read is left out."""
    Presence(link, OWN).publish()
    link.call("HSET", f"{prefix(0)}instances", "newer", b'{"mode":1,' + OWN.encode()[1:], "odd", b"[1]")
    assert [one.pid for one in read_instances(link)] == [7, 7]


def test_versions_that_run() -> None:
    """Processes are counted by program, version, commit and schema."""
    older = replace(OWN, version="0.0.9", schema=3)
    assert running([OWN, older, replace(OWN, pid=9)]) == [
        Running("web", "0.0.9", "a" * 40, 3, 1),
        Running("web", "0.1.0", "a" * 40, 4, 2),
    ]
