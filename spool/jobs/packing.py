"""The packed form of a log that has ended: blocks of compressed entries, and an index at the end.

    BLOCK … BLOCK INDEX b"\\nspool-log 1 LENGTH COUNT TEXT LAST KIND\\n"

A block holds consecutive entries as columns, since ids, kinds and times compress well apart from text. LENGTH is the
length of the index in bytes; COUNT the number of entries; TEXT the length of the last attempt's text in bytes, or ``-``
if the log alone does not give it; LAST and KIND the id and the kind of the terminal entry. The index is at the end, so
that one read of the value's last bytes brings a short log whole.

What comes back are the very bytes that were packed: ``pack_block`` compares them, and stores entries that the columns
do not give back as they are.
"""

from __future__ import annotations

import re
import sys
import zlib
from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from typing import cast

import orjson

from spool.errors import SpoolError
from spool.jobs.entries import kind_of

Row = tuple[int, bytes]
"""An entry's id and its encoded bytes."""

BLOCK_ENTRIES = 1024
"""A reader unpacks whole blocks: small enough for a millisecond of work, large enough to compress well."""
BLOCK_BYTES = 128 * 1024
"""A block ends with the entry that brings its encoded entries to this length."""
TAIL_BYTES = 16 * 1024
"""The bytes at the end of a packed log that the first read brings: all of a short log."""
END_BYTES = 96
"""The line at the end is shorter than this."""

_LEVEL = 6
_RAW_DEFLATE = -15
_WHOLE, _TOKEN, _REASONING, _OTHER = range(4)
_TEXT_FORMS = {b"token": _TOKEN, b"reasoning": _REASONING}
_ENTRY = re.compile(
    rb'\{"id":([1-9][0-9]{0,17}),"kind":"([a-z_]+)","at":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{3})Z"(.*)\}', re.DOTALL
)
_TEXT_BEFORE, _TEXT_AFTER = b',"text":"', b'"'
_END = re.compile(rb"\nspool-log 1 (\d{1,9}) (\d{1,15}) (\d{1,15}|-) (\d{1,15}) ([a-z_]+)\n\Z")
_TIME_PLANES = 4
_STEP_ENTRIES = 256
_STEP_BYTES = 32 * 1024
_Column = tuple[int, int | None, bytes]
"""An entry's form, its time in ms (None for ``_WHOLE``), and the rest of it."""


class DamagedPack(SpoolError):
    """The bytes are no packed log, or no block of one."""


@dataclass(frozen=True, slots=True)
class Part:
    """The place of a block: its first byte and its length, the ids of its first and last entry, and the number of
    bytes that its entries add to the text of the log's last attempt."""

    start: int
    length: int
    first: int
    last: int
    text_bytes: int


@dataclass(frozen=True, slots=True)
class Index:
    """The index of a packed log, with the number of its entries. ``text_bytes``: the length of the last attempt's
    text; None if the log alone does not give it."""

    parts: Sequence[Part]
    count: int
    text_bytes: int | None


def pack_block(rows: Sequence[Row]) -> bytes:
    """One block of at least one entry, with ascending ids."""
    steps = packing_steps(rows)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast(bytes, done.value)


def packing_steps(rows: Sequence[Row]) -> Generator[None, None, bytes]:
    """``pack_block`` in steps of less than a millisecond, between which other work may run."""
    try:
        columns: list[_Column] = []
        for at in range(0, len(rows), _STEP_ENTRIES):
            columns += [_column_of(entry_id, raw) for entry_id, raw in rows[at : at + _STEP_ENTRIES]]
            yield
        block = yield from _pack(rows, columns)
        if unpack_block(block) == list(rows):
            yield
            return block
        raise DamagedPack("not the same")
    except (DamagedPack, ValueError, OverflowError):
        return (yield from _pack(rows, [(_WHOLE, None, raw) for _entry_id, raw in rows]))


def unpack_block(block: bytes) -> list[Row]:
    """The entries of a block. Raises ``DamagedPack``."""
    ids, forms, times, strings = _read(block)
    rows: list[Row] = []
    # At most one of these for each second of the log.
    seconds: dict[int, bytes] = {}
    for entry_id, form, ms, string in zip(ids, forms, times, strings, strict=True):
        if form == _WHOLE:
            rows.append((entry_id, string))
            continue
        second = ms // 1000
        at = seconds.get(second)
        if at is None:
            at = seconds[second] = _second(second)
        if form == _TOKEN:
            raw = b'{"id":%d,"kind":"token","at":"%b.%03dZ","text":"%b"}' % (entry_id, at, ms % 1000, string)
        else:
            kind, _, fields = string.partition(b" ")
            if form == _REASONING:
                kind, fields = b"reasoning", b"%b%b%b" % (_TEXT_BEFORE, string, _TEXT_AFTER)
            raw = b'{"id":%d,"kind":"%b","at":"%b.%03dZ"%b}' % (entry_id, kind, at, ms % 1000, fields)
        rows.append((entry_id, raw))
    return rows


def text_of_block(block: bytes, first: int) -> str:
    """The joined text of a block's tokens with ids from ``first``. Raises ``DamagedPack``."""
    ids, forms, _times, strings = _read(block)
    pieces = []
    try:
        for entry_id, form, string in zip(ids, forms, strings, strict=True):
            if entry_id < first:
                continue
            if form == _TOKEN:
                pieces.append(string)
            elif form == _WHOLE and kind_of(string) == b"token":
                pieces.append(orjson.dumps(str(orjson.loads(string)["text"]))[1:-1])
        return str(orjson.loads(b'"%b"' % b"".join(pieces)))
    except (ValueError, KeyError, TypeError) as exc:
        raise DamagedPack("text") from exc


def encode_index(parts: Iterable[Part], count: int, text_bytes: int | None, kind: bytes) -> bytes:
    """The index of a packed log and the line after it. ``kind`` is that of the terminal entry."""
    numbers: list[int] = []
    before = 0
    for part in parts:
        numbers += [part.length, part.first - before, part.last - part.first, part.text_bytes]
        before = part.last
    index = _varints(numbers)
    text = b"-" if text_bytes is None else b"%d" % text_bytes
    return b"%b\nspool-log 1 %d %d %b %d %b\n" % (index, len(index), count, text, before, kind)


def index_size(end: bytes) -> int:
    """The length of the index and the line after it, from the last bytes of a packed log. Raises ``DamagedPack``."""
    match = _END.search(end[-END_BYTES:])
    if match is None:
        raise DamagedPack("end")
    return int(match[1]) + len(match[0])


def decode_index(end: bytes) -> Index:
    """The index, from the last ``index_size`` bytes or more of a packed log. Raises ``DamagedPack``."""
    match = _END.search(end, max(0, len(end) - END_BYTES))
    if match is None or match.start() < int(match[1]):
        raise DamagedPack("end")
    numbers = list(_read_varints(end[match.start() - int(match[1]) : match.start()]))
    parts: list[Part] = []
    start = last = 0
    for at in range(0, len(numbers) - 3, 4):
        length, skipped, span, text_bytes = numbers[at : at + 4]
        first = last + skipped
        last = first + span
        parts.append(Part(start, length, first, last, text_bytes))
        start += length
    if not parts or len(numbers) % 4:
        raise DamagedPack("index")
    return Index(parts, int(match[2]), None if match[3] == b"-" else int(match[3]))


def sizes_of(end: bytes) -> tuple[int, int | None] | None:
    """The number of entries and the length of the text, from the last bytes of a packed log; None for other bytes."""
    match = _END.search(end[-END_BYTES:])
    if match is None:
        return None
    return int(match[2]), None if match[3] == b"-" else int(match[3])


def _column_of(entry_id: int, raw: bytes) -> _Column:
    match = _ENTRY.fullmatch(raw)
    if match is None or int(match[1]) != entry_id:
        return _WHOLE, None, raw
    try:
        ms = _epoch_s(match[3]) * 1000 + int(match[4])
    except ValueError:
        return _WHOLE, None, raw
    kind, rest = match[2], match[5]
    form = _TEXT_FORMS.get(kind)
    if (
        form is not None
        and rest.startswith(_TEXT_BEFORE)
        and rest.endswith(_TEXT_AFTER)
        and len(rest) > len(_TEXT_BEFORE)
    ):
        return form, ms, rest[len(_TEXT_BEFORE) : -1]
    return _OTHER, ms, b"%b %b" % (kind, rest)


def _pack(rows: Sequence[Row], columns: Sequence[_Column]) -> Generator[None, None, bytes]:
    first, base = rows[0][0], next((ms for _form, ms, _string in columns if ms is not None), 0)
    forms = bytes([form for form, _ms, _string in columns])
    steps, jumps, before, before_id, at_before = array("i"), [], base, first - 1, 0
    for at, ((entry_id, _raw), (_form, ms, _string)) in enumerate(zip(rows, columns, strict=True)):
        step = 0 if ms is None else ms - before
        before += step
        steps.append(step)
        if entry_id != before_id + 1:
            jumps += [at - at_before, entry_id - before_id - 1]
            at_before = at
        before_id = entry_id
    strings = [string for _form, _ms, string in columns]
    joined = b"\n".join(strings)
    lengths = [len(string) for string in strings] if joined.count(b"\n") != len(strings) - 1 else []
    meta = yield from _deflated(forms + _planes(steps) + _varints(lengths))
    head = _varints([len(rows), first, base, len(jumps) // 2, *jumps, len(lengths), len(meta)])
    data = yield from _deflated(b"".join(strings) if lengths else joined)
    return b"%b%b%b" % (head, meta, data)


def _read(block: bytes) -> tuple[list[int], bytes, list[int], list[bytes]]:
    """The columns of a block: ids, forms, times in ms, and the rest of each entry."""
    try:
        numbers = _read_varints(block)
        count, first, base, jump_count = [next(numbers) for _ in range(4)]
        jumps = [next(numbers) for _ in range(2 * jump_count)]
        lengths_count, meta_length = next(numbers), next(numbers)
        head = len(_varints([count, first, base, jump_count, *jumps, lengths_count, meta_length]))
        meta = _inflated(block[head : head + meta_length])
        data = _inflated(block[head + meta_length :])
        steps = _from_planes(meta[count : count * (1 + _TIME_PLANES)])
        times = list(accumulate(steps, initial=base))[1:]
        if lengths_count:
            strings, at = [], 0
            for length in _read_varints(meta[count * (1 + _TIME_PLANES) :]):
                strings.append(data[at : at + length])
                at += length
        else:
            strings = data.split(b"\n")
        ids = _ids(len(strings), first, jumps)
    except (StopIteration, zlib.error, ValueError, OverflowError, IndexError) as exc:
        raise DamagedPack("block") from exc
    if not count == len(strings) == len(times):
        raise DamagedPack("block")
    return ids, meta[:count], times, strings


def _ids(count: int, first: int, jumps: Sequence[int]) -> list[int]:
    if not jumps:
        return list(range(first, first + count))
    skipped, at = [0] * count, 0
    for jump in range(0, len(jumps), 2):
        at += jumps[jump]
        skipped[at] = jumps[jump + 1]
    return [first + number + before for number, before in enumerate(accumulate(skipped))]


def _planes(steps: array[int]) -> bytes:
    """The bytes of 32-bit numbers, the lowest ones of all first: the higher ones are nearly all zero."""
    if sys.byteorder == "big":
        steps.byteswap()
    data = steps.tobytes()
    return b"".join([data[plane::_TIME_PLANES] for plane in range(_TIME_PLANES)])


def _from_planes(planes: bytes) -> array[int]:
    count = len(planes) // _TIME_PLANES
    data = bytearray(len(planes))
    for plane in range(_TIME_PLANES):
        data[plane::_TIME_PLANES] = planes[plane * count : (plane + 1) * count]
    steps = array("i")
    steps.frombytes(bytes(data))
    if sys.byteorder == "big":
        steps.byteswap()
    return steps


@lru_cache(maxsize=1024)
def _epoch_s(at: bytes) -> int:
    return int(datetime.fromisoformat(at.decode()).replace(tzinfo=UTC).timestamp())


@lru_cache(maxsize=4096)
def _second(epoch_s: int) -> bytes:
    try:
        return datetime.fromtimestamp(epoch_s, UTC).isoformat()[:19].encode()
    except (ValueError, OverflowError, OSError) as exc:
        raise DamagedPack("time") from exc


def _deflated(data: bytes) -> Generator[None, None, bytes]:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
    pieces = []
    for at in range(0, len(data), _STEP_BYTES):
        pieces.append(compressor.compress(data[at : at + _STEP_BYTES]))
        yield
    return b"".join([*pieces, compressor.flush()])


def _inflated(data: bytes) -> bytes:
    return zlib.decompress(data, _RAW_DEFLATE)


def _varints(numbers: Iterable[int]) -> bytes:
    data = bytearray()
    for number in numbers:
        while number > 0x7F:
            data.append(number & 0x7F | 0x80)
            number >>= 7
        data.append(number)
    return bytes(data)


def _read_varints(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            yield number
            number = shift = 0
        else:
            shift += 7
