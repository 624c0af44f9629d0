"""What can be wrong with the keys of a job: one field deleted, retyped or replaced, one key deleted or of another type,
an index with members and scores that Spool never gives, a log with entries that are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from spool.jobs.job import SCHEMA
from spool.redis.link import RedisLink

P = "spool:{0}:"
VALUES: tuple[bytes, ...] = (
    *(b"", b"x", b"-1", b"0", b"1", b"7", b"1.5", b"1e99", b"inf", b"nan", b"99999999999999999999", b"999999999999999"),
    *(b"\xff\xfe", b"[1]", b'{"a":', b"null", b"a b\nc", b"paused", b"queued", b"running", b"succeeded", b"urgent"),
)
TYPES: dict[str, tuple[Any, ...]] = {
    "string": ("SET", "none of ours"),
    "hash": ("HSET", "a", "b"),
    "list": ("RPUSH", "a"),
    "set": ("SADD", "a"),
    "zset": ("ZADD", 1, "a"),
    "stream": ("XADD", "1-1", "a", "b"),
}
INDEXES = ("pending:demo", "running:demo", "apart", "deadlines", "watched", "owner:alice", "kept", "workers")
STRINGS = ("seq", "keeper:lock", "reindex")
_HASHED = (("server", "since_ms"), ("keeper", "beat_ms"), ("keeper", "patient_until_ms"), ("slots", "one"))
_ENTRIES = (("900000-0", b"entry", b"no JSON"), ("900000-1", b"entry", b"{}"), ("900000-7", b"x", b"y"))
_OF_A_JOB = ("job", "block", "block-users", "batch", "idempotency", "chat", "claim", "displaced")
_OF_A_FAMILY = 3
_FEW_VALUES = (b"", b"x", b"-1", b"0", b"1e99", b"nan", b"999999999999999", b"\xff\xfe")
_STRANGERS = (b"no \xff id", b"b0-" + b"0" * 26, b"interactive:nobody:", b"interactive:demo", b"")
OTHERS = ("models", "slots", "server", "unheard", "keeper", "notices", "set-aside", "newer")


@dataclass(frozen=True)
class Mutation:
    """One thing that goes wrong. ``name`` says what; ``act`` does it, given the link."""

    name: str
    act: Callable[[RedisLink], None]


def mutations(link: RedisLink, job_id: str, names: dict[str, str]) -> Iterator[Mutation]:
    """All mutations of a job as it is now. ``names`` are the names of its batch, chat, fence and idempotency keys."""
    key = f"{P}job:{job_id}"
    fields = sorted(link.call("HKEYS", key))
    for field in fields:
        yield _command(f"HDEL {field.decode()}", "HDEL", key, field)
        for value in VALUES:
            yield _command(f"HSET {field.decode()} {value!r}", "HSET", key, field, value)
    yield _command("HSET schema newer", "HSET", key, "schema", SCHEMA + 1)
    for suffix in ("", ":input", ":log", ":text", ":gone"):
        yield from _retyped(link, f"job:{job_id}{suffix}")
    for value in (b"", b"null", b"[]", b"{", b"\xff", b'{"messages":1}'):
        yield _command(f"SET :input {value!r}", "SET", f"{key}:input", value)
    for name in (*INDEXES, *STRINGS, *OTHERS, *names.values()):
        yield from _retyped(link, name)
    for name in (*STRINGS, *(found for what, found in names.items() if what != "batch")):
        for value in VALUES[:12]:
            yield _command(f"SET {name} {value!r}", "SET", P + name, value)
    for name in INDEXES:
        for score in ("-inf", "+inf", -1, 0, 10**17):
            yield _command(f"ZADD {name} {score} job", "ZADD", P + name, score, job_id)
            yield _command(f"ZADD {name} {score} stranger", "ZADD", P + name, score, b"no \xff id")
    for name, hashed in _HASHED:
        for value in VALUES:
            yield _command(f"HSET {name} {hashed} {value!r}", "HSET", P + name, hashed, value)
    for field in ("total", "ttl_s", "owner", "created_ms", "queued", "failed"):
        yield _command(f"HDEL batch {field}", "HDEL", P + names["batch"], field)
        yield _command(f"HSET batch {field} x", "HSET", P + names["batch"], field, "x")
    for what, name in names.items():
        if what.startswith("block"):
            yield from _of_block(P + name)
        elif what.startswith("users"):
            yield from _of_users(P + name, job_id)
    for entry_id, name, raw in _ENTRIES:
        yield _command(f"XADD {entry_id} {raw!r}", "XADD", f"{key}:log", entry_id, name, raw)


def mutations_of_indexes(link: RedisLink, job_id: str) -> Iterator[Mutation]:
    """All mutations of the keys that jobs share, as they are now, and that ``mutations`` does not know."""
    found: Counter[str] = Counter()
    for key in sorted(raw.decode() for raw in link.call("KEYS", "spool:{0}:*")):
        name = key.removeprefix(P)
        family = name.partition(":")[0]
        found[family] += 1
        if name in (*INDEXES, *STRINGS, *OTHERS) or family in _OF_A_JOB or found[family] > _OF_A_FAMILY:
            continue
        yield from _retyped(link, name)
        match link.call("TYPE", key):
            case b"zset":
                yield from _of_zset(link, name, job_id)
            case b"hash":
                yield from _of_hash(link, name)
            case b"string":
                for value in _FEW_VALUES:
                    yield _command(f"SET {name} {value!r}", "SET", key, value)
            case b"set":
                for member in (*_STRANGERS, job_id):
                    yield _command(f"SADD {name} {member!r}", "SADD", key, member)


def _of_zset(link: RedisLink, name: str, job_id: str) -> Iterator[Mutation]:
    there = link.call("ZRANGE", P + name, 0, 0)
    for score in ("-inf", "+inf", 0, 10**17):
        for member in (job_id, *there, *_STRANGERS):
            yield _command(f"ZADD {name} {score} {member!r}", "ZADD", P + name, score, member)
    for member in there:
        yield _command(f"ZREM {name} {member!r}", "ZREM", P + name, member)


def _of_hash(link: RedisLink, name: str) -> Iterator[Mutation]:
    for field in sorted(link.call("HKEYS", P + name)):
        yield _command(f"HDEL {name} {field!r}", "HDEL", P + name, field)
        for value in _FEW_VALUES:
            yield _command(f"HSET {name} {field!r} {value!r}", "HSET", P + name, field, value)


def _of_block(key: str) -> Iterator[Mutation]:
    digest = key.rpartition(":")[2]
    for field in ("before", "messages"):
        yield _command(f"HDEL {key} {field}", "HDEL", key, field)
        for value in (*VALUES, b"[]", digest.encode(), b"f" * 32):
            yield _command(f"HSET {key} {field} {value!r}", "HSET", key, field, value)


def _of_users(key: str, job_id: str) -> Iterator[Mutation]:
    for score in ("-inf", "+inf", -1, 0, 1.5, 10**17, 10**300):
        for member in (job_id.encode(), key.rpartition(":")[2].encode(), b"f" * 32, b"no \xff id"):
            yield _command(f"ZADD {key} {score} {member!r}", "ZADD", key, score, member)


def _retyped(link: RedisLink, name: str) -> Iterator[Mutation]:
    there = link.call("TYPE", P + name).decode()
    if there != "none":
        yield _command(f"DEL {name}", "DEL", P + name)
    for kind, (command, *rest) in TYPES.items():
        if kind != there:
            yield Mutation(f"{name} is a {kind}", _replacing(P + name, command, rest))


def _replacing(key: str, command: str, rest: list[Any]) -> Callable[[RedisLink], None]:
    def act(link: RedisLink) -> None:
        link.pipeline([("DEL", key), (command, key, *rest)])

    return act


def _command(name: str, *command: Any) -> Mutation:
    # What a mutation of another kind of key refuses is nothing that could be wrong.
    return Mutation(name, lambda link: void(link.pipeline_each([command])))


def void(_: object) -> None:
    """Nothing."""
