"""Readers of batches whose logs are packed meanwhile: at any moment, on every transport and in a file, they see what
others saw."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from spool.batches.store import Batches
from spool.jobs.log import Row
from tests.by_hand import shards_of
from tests.loopback import NO_CERTIFICATES
from tests.readers import BATCH_READERS
from tests.stack import Stack, wait_for
from tests.system.test_packed_logs import in_pieces, is_packed, packing

LINES = 60
BYTES = frozenset({"sse", "ndjson", "websocket"})
"""The transports that carry an entry's bytes as they are."""


def submit(stack: Stack, seed: int) -> str:
    """A batch of short answers; its id."""
    params = {"tokens": 6, "rate": 0, "first_token_s": 0}
    lines = [{"prompt": f"{seed} 糸 {n}", "custom_id": f"c{n}", "params": params} for n in range(LINES)]
    answer = stack.client().post("/batches", json=lines)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def downloads(base: str, batch: str) -> tuple[list[bytes], list[str], int]:
    """The results, the ``custom_id`` of each line of the output file, and the number of entries from a cursor on."""
    with httpx.Client(base_url=base, verify=NO_CERTIFICATES, timeout=60) as client:
        results = client.get(f"/batches/{batch}/results").content.splitlines()
        file_id = client.get(f"/v1/batches/{batch}").json()["spool"]["output_file_id"]
        output = client.get(f"/v1/files/{file_id}/content").text.splitlines()
        newest = client.get(f"/batches/{batch}/stream?after=-9", headers={"Accept": "application/x-ndjson"}).text
    return results, [json.loads(line)["custom_id"] for line in output], len(newest.splitlines())


def read_somehow(chance: random.Random, stack: Stack, batch: str) -> tuple[str, int, Any]:
    """Read the batch in any way, from any web, after any entry: the way, the cursor, and what was read."""
    after, way = chance.choice([0, chance.randrange(LINES)]), chance.choice([*BATCH_READERS, "downloads"])
    if way == "downloads":
        return way, 0, downloads(chance.choice(stack.webs).url, batch)
    return way, after, in_pieces(chance, stack, way, batch, after)


def check(rows: Sequence[Row], first: Any, reading: tuple[str, int, Any]) -> None:
    """Compare what was read with the log, and with the downloads before it was packed."""
    way, after, found = reading
    if way == "downloads":
        assert found == first
        return
    later = [raw for entry_id, raw in rows if entry_id > after]
    assert found.entries == [json.loads(raw) for raw in later], way
    assert way not in BYTES or found.raw == later, way
    assert not [other for other in found.other if other["type"] in ("gap", "unavailable")], way


def check_moments(stack: Stack, batches: int, moments: int, seed: int) -> int:
    """So many readers of each batch, which begin at random moments around the time at which its log is packed. Returns
    the number of readers that saw the right thing."""
    seen = 0
    for number in range(batches):
        batch = submit(stack, number)
        BATCH_READERS["ndjson"](stack.webs[0].url, batch)
        rows = list(Batches(shards_of(stack.redis.link)).each_result(batch))
        assert [entry_id for entry_id, _raw in rows] == list(range(1, LINES + 2))
        first = downloads(stack.webs[0].url, batch)
        assert (len(first[0]), sorted(first[1])) == (LINES, sorted(f"c{n}" for n in range(LINES)))
        with ThreadPoolExecutor(16) as pool:
            chances = [random.Random(seed * 1_000_000 + number * 1000 + moment) for moment in range(moments)]
            readings = [pool.submit(read_somehow, chance, stack, batch) for chance in chances]
            with packing(stack):
                wait_for(partial(is_packed, stack, batch), "the log is packed", 30)
        for reading in readings:
            check(rows, first, reading.result())
            seen += 1
        assert list(Batches(shards_of(stack.redis.link)).each_result(batch)) == rows
    return seen


def test_readers_while_a_log_is_packed(stack: Stack) -> None:
    """Dozens of readers at random moments: 0 differences."""
    assert check_moments(stack, batches=1, moments=32, seed=1) == 32


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_thousand_moments(stack: Stack) -> None:
    """Two thousand readers at random moments: 0 differences."""
    assert check_moments(stack, batches=50, moments=40, seed=2) == 2000
