"""Packing: what is unpacked is what was packed, byte for byte, whatever it was."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import accumulate

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spool.jobs.entries import Entry, Kind, encode_text, rfc3339
from spool.jobs.packing import (
    BLOCK_ENTRIES,
    DamagedPack,
    Index,
    Part,
    Row,
    decode_index,
    encode_index,
    index_size,
    pack_block,
    sizes_of,
    text_of_block,
    unpack_block,
)
from tests.by_hand import AT

IDS = st.lists(st.one_of(st.just(1), st.just(1), st.integers(1, 10**12)), min_size=1, max_size=40).map(
    lambda steps: list(accumulate(steps))
)
TIMES = st.one_of(
    st.floats(0, 4e9).map(rfc3339),
    st.sampled_from(
        [AT, "2026-02-30T00:00:00.000Z", "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:60.000Z", "", "now"]
    ),
)
TEXTS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["", '"', "\\", "\n", '","a":"']))


@st.composite
def entries(draw: st.DrawFn, entry_id: int) -> bytes:
    """An entry as Spool writes it, or nearly, or anything else."""
    kind, at = draw(st.sampled_from(list(Kind))), draw(TIMES)
    form = draw(st.integers(0, 4))
    if form == 0:
        return encode_text(entry_id, kind, at, draw(TEXTS))
    if form == 1:
        return Entry(entry_id, kind, at, draw(st.dictionaries(TEXTS, TEXTS, max_size=3))).encode()
    if form == 2:
        return orjson.dumps({"id": draw(st.integers(-1, 10**18)), "kind": kind, "at": at, "text": draw(TEXTS)})
    if form == 3:
        raw = encode_text(entry_id, kind, at, draw(TEXTS))
        place = draw(st.integers(0, len(raw)))
        return raw[:place] + draw(st.binary(max_size=3)) + raw[place:]
    return draw(st.binary(max_size=60))


@settings(max_examples=40)
@given(st.data())
def test_unpacked_is_what_was_packed(data: st.DataObject) -> None:
    """Any bytes under any ascending ids come back as they were."""
    rows = [(entry_id, data.draw(entries(entry_id))) for entry_id in data.draw(IDS)]
    assert unpack_block(pack_block(rows)) == rows


@pytest.mark.slow
@settings(max_examples=5000)
@given(st.data())
def test_unpacked_is_what_was_packed_often(data: st.DataObject) -> None:
    """The same with many more examples."""
    rows = [(entry_id, data.draw(entries(entry_id))) for entry_id in data.draw(IDS)]
    assert unpack_block(pack_block(rows)) == rows


@pytest.mark.slow
def test_unpacked_is_what_was_packed_in_long_logs() -> None:
    """The same for two thousand whole blocks."""
    chance = random.Random(17)
    for _ in range(2000):
        rows, now = [], chance.uniform(1e9, 2e9)
        for entry_id in range(1, chance.randint(1, BLOCK_ENTRIES) + 1):
            now += chance.choice([0, 0.02, 0.02, -1, 86_400, 3e6]) * chance.random()
            text = "".join(chance.choices('ab \n"\\é日🧵', k=chance.randint(0, 12)))
            rows.append((entry_id, encode_text(entry_id, chance.choice(list(Kind)), rfc3339(now), text)))
        assert unpack_block(pack_block(rows)) == rows


def answer(count: int, step_s: float = 0.02) -> list[Row]:
    """So many tokens as a worker writes them."""
    texts = ["The", " word", " number", " is", ".\n"]
    return [
        (n, encode_text(n, Kind.TOKEN, rfc3339(1.79e9 + n * step_s), f"{texts[n % 5]}{n % 7}"))
        for n in range(1, count + 1)
    ]


def test_tokens_take_few_bytes() -> None:
    """A token's id, kind and time take hardly anything beside its text."""
    rows = answer(1000)
    assert len(pack_block(rows)) < 2000 < sum(len(raw) for _entry_id, raw in rows) / 30


def test_text_is_that_of_the_tokens_from_the_attempts_first_entry() -> None:
    """Reasoning, other entries and the tokens of earlier attempts are no part of it."""
    said = [(Kind.TOKEN, "lost"), (Kind.REASONING, "hm"), (Kind.TOKEN, 'a"\\\n'), (Kind.TOKEN, "é🧵")]
    rows = [(n, encode_text(n, kind, "odd" if n == 4 else AT, text)) for n, (kind, text) in enumerate(said, 1)]
    assert text_of_block(pack_block(rows), 2) == 'a"\\\né🧵'


@pytest.mark.parametrize(
    "raw", [b'{"id":1,"kind":"token","at":"x"}', b'{"id":1,"kind":"token","at":"x","text":"a","b":1}']
)
def test_text_of_a_token_without_one_is_refused(raw: bytes) -> None:
    """Then the text that is stored beside the log stays."""
    rows = [(1, raw)]
    assert unpack_block(pack_block(rows)) == rows
    if b"text" not in raw:
        with pytest.raises(DamagedPack):
            text_of_block(pack_block(rows), 1)


def test_index_is_read_from_the_end() -> None:
    """The places of the blocks, the number of entries and the length of the text are known from the last bytes."""
    parts = [Part(0, 300, 1, 1024, 5000), Part(300, 20, 500_000, 500_001, 7)]
    end = encode_index(parts, 1026, 5007, b"done")
    assert index_size(b"x" * 400 + end) == len(end)
    assert decode_index(b"x" * 400 + end) == decode_index(end) == Index(parts, 1026, 5007)
    assert sizes_of(end) == (1026, 5007)
    assert sizes_of(encode_index(parts, 3, None, b"failed")) == (3, None)
    assert sizes_of(b"something else") is None


@pytest.mark.parametrize(
    "harm",
    [lambda raw: raw[:-1], lambda raw: raw[1:], lambda raw: raw[:0], lambda raw: raw[: len(raw) // 2]],
    ids=["cut", "shifted", "empty", "half"],
)
def test_damaged_block_is_refused(harm: Callable[[bytes], bytes]) -> None:
    """A block that is cut is no block."""
    with pytest.raises(DamagedPack):
        unpack_block(harm(pack_block(answer(50))))


@pytest.mark.parametrize("end", [b"", b"nonsense", b"\nspool-log 1 9 1 1 1 done\n", b"\nspool-log 2 0 1 1 1 done\n"])
def test_damaged_index_is_refused(end: bytes) -> None:
    """Bytes without a whole index are no packed log."""
    with pytest.raises(DamagedPack):
        decode_index(end)
