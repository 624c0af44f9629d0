"""Entries, the records of a job's log: their kinds, and how they are encoded and decoded.

The appender encodes an entry once, as the JSON object that every reader gets:

    {"id":7,"kind":"token","at":"2026-11-21T09:30:00.123Z","text":"Hel"}

The stream in Redis, the doorbell's message and the NDJSON line all contain these bytes. ``id`` and ``kind`` come
first and in this order, so that a transport can read them without decoding the rest (``kind_of``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from spool.errors import UndecodableRecord


class Kind(StrEnum):
    """The kinds of entry, and the fields of each besides ``id``, ``kind`` and ``at``."""

    STARTED = "started"
    """``attempt``, ``model``: the first attempt began."""
    TOKEN = "token"  # noqa: S105 - a piece of text, no secret
    """``text``. A piece without text may say something about the text: ``refusal`` (true: what follows is a refusal),
    ``annotations`` (of the text so far) or ``logprobs`` (of its last tokens), in the shape of chat completions."""
    REASONING = "reasoning"
    """``text``: the model's reasoning, not part of the answer."""
    TOOL_CALL = "tool_call"
    """``index``, ``call_id``, ``name``, ``arguments`` (a piece of them)."""
    RESULT = "result"
    """``body``: a piece of the JSON text that the upstream answered to one request, such as one for embeddings."""
    USAGE = "usage"
    """``input_tokens``, ``output_tokens``, and if the upstream reports them ``cached_tokens`` and
    ``reasoning_tokens``. The first two include the last two."""
    RESTARTED = "restarted"
    """``attempt``, ``reason``: the earlier attempt's text no longer counts."""
    CONTINUED = "continued"
    """``attempt``, ``reason``: another attempt continues the partial answer."""
    WAITING = "waiting"
    """``reason``, ``retry_at``: the upstream refuses temporarily."""
    LINE = "line"
    """Of a batch's log: a line has ended. ``batch_index``, ``job``, ``status``, its answer, … (docs/batches.md)."""
    DONE = "done"
    """``finish_reason``."""
    FAILED = "failed"
    """``error``: ``code``, ``message``, ``retryable``."""
    CANCELLED = "cancelled"
    """No fields."""


TERMINAL = frozenset({Kind.DONE, Kind.FAILED, Kind.CANCELLED})
_QUOTED = {kind: orjson.dumps(kind.value) for kind in Kind}
_BEFORE_KIND = b',"kind":"'
_TERMINAL_KINDS = frozenset(kind.value.encode() for kind in TERMINAL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a log. ``fields`` are the fields of its kind."""

    id: int
    kind: Kind
    at: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The bytes to store and send, without a line end."""
        return encode(self.id, self.kind, self.at, self.fields)

    @classmethod
    def decode(cls, raw: bytes) -> Entry:
        """The inverse of ``encode``. Raises ``UndecodableRecord``, which keeps ``raw``."""
        try:
            data = orjson.loads(raw)
            return cls(id=data.pop("id"), kind=Kind(data.pop("kind")), at=data.pop("at"), fields=data)
        except (orjson.JSONDecodeError, KeyError, ValueError, AttributeError, TypeError) as exc:
            raise UndecodableRecord("entry", raw) from exc


def encode(entry_id: int, kind: Kind, at: str, fields: Mapping[str, Any]) -> bytes:
    """``Entry.encode`` without an ``Entry``, because a worker calls it for every token."""
    return orjson.dumps({"id": entry_id, "kind": kind.value, "at": at, **fields})


def encode_text(entry_id: int, kind: Kind, at: str, text: str) -> bytes:
    """``encode`` for an entry whose only field is ``text``. Most entries are such, and this costs half as much."""
    return b'{"id":%d,"kind":%b,"at":"%b","text":%b}' % (entry_id, _QUOTED[kind], at.encode(), orjson.dumps(text))


_FIELDS_OF_TEXT = 4


def is_mark(entry: Mapping[str, Any]) -> bool:
    """Whether a decoded piece of text has more fields than its text."""
    return len(entry) > _FIELDS_OF_TEXT


def decode_all(raws: Sequence[bytes]) -> list[dict[str, Any]]:
    """Decode all entries at once, as plain objects; this costs a third of decoding each separately. Raises
    ``UndecodableRecord``."""
    joined = b"[%b]" % b",".join(raws)
    try:
        entries: list[dict[str, Any]] = orjson.loads(joined)
    except orjson.JSONDecodeError as exc:
        raise UndecodableRecord("entries", joined) from exc
    if len(entries) != len(raws):
        raise UndecodableRecord("entries", joined)
    return entries


def kind_of(raw: bytes) -> bytes:
    """The kind of an encoded entry, from its fixed head, as in ``b"token"``. Raises ``ValueError`` if there is none."""
    at = raw.index(b",") + len(_BEFORE_KIND)
    if not raw.startswith(_BEFORE_KIND, at - len(_BEFORE_KIND)):
        raise ValueError("not an encoded entry")
    return raw[at : raw.index(b'"', at)]


def is_terminal(raw: bytes) -> bool:
    """Whether this encoded entry ends its log."""
    return kind_of(raw) in _TERMINAL_KINDS


LAST_S = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
"""The last second that RFC 3339 can show."""


def rfc3339(epoch_s: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC with milliseconds. A time that RFC 3339 cannot show, from a damaged
    record, becomes the first or the last one that it can (a four-digit year), so that the rest is still shown."""
    shown = datetime.fromtimestamp(min(max(0.0, epoch_s), LAST_S), UTC)
    return shown.isoformat(timespec="milliseconds").replace("+00:00", "Z")
