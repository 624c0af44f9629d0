"""Batches of the tests of the native API."""

from __future__ import annotations

import httpx
import pytest

from spool.batches.line import job_id_of
from tests.by_hand import HandWorker


@pytest.fixture
def ended(alice: httpx.Client, worker: HandWorker) -> str:
    """A batch of three lines, two of which have ended."""
    items = [{"prompt": "x", "custom_id": f"c{n}"} for n in range(3)]
    batch = str(alice.post("/batches", json=items).json()["id"])
    for n in range(2):
        claim = worker.take_job(job_id_of(batch, n))
        worker.say(claim, f"answer {n}")
        worker.finish(claim)
    return batch
