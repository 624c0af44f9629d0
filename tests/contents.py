"""What keys of Redis hold, in a form that two looks can be compared by.

DUMP is none: it lists a hash or set in the order of its table, and a read alone can move that table on while it is
growing, so the same fields come in another order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from spool.redis.link import RedisLink
from spool.redis.pool import Command

Content: TypeAlias = bytes | list[Any]


def contents(link: RedisLink, keys: Iterable[bytes] | None = None) -> dict[bytes, Content]:
    """What each of ``keys`` holds, or all keys there are; one that is gone is left out."""
    names: list[bytes] = sorted(link.call("KEYS", "*") if keys is None else keys)
    kinds = link.pipeline([("TYPE", key) for key in names])
    there = [(key, kind) for key, kind in zip(names, kinds, strict=True) if kind != b"none"]
    answers = link.pipeline([_read(key, kind) for key, kind in there])
    read = zip(there, answers, strict=True)
    return {key: _comparable(kind, answer) for (key, kind), answer in read if answer}


def _read(key: bytes, kind: bytes) -> Command:
    match kind:
        case b"string":
            return ("GET", key)
        case b"hash":
            return ("HGETALL", key)
        case b"list":
            return ("LRANGE", key, 0, -1)
        case b"set":
            return ("SMEMBERS", key)
        case b"zset":
            return ("ZRANGE", key, 0, -1, "WITHSCORES")
        case b"stream":
            return ("XRANGE", key, "-", "+")
    raise AssertionError(f"{key!r} is a {kind!r}")


def _comparable(kind: bytes, answer: Any) -> Content:
    if isinstance(answer, bytes):
        return answer
    assert isinstance(answer, list | dict | set), answer
    if isinstance(answer, dict):
        return sorted(answer.items())
    if kind == b"hash":
        return sorted(zip(answer[::2], answer[1::2], strict=True))
    return sorted(answer) if kind == b"set" else list(answer)
