"""A web of its own for tests of what goes wrong: with keys, small limits, and a worker by hand instead of real ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.by_hand import HandWorker
from tests.stack import Stack, running_stack

ALICE, BOB = "alice-secret-0123456789", "bob-secret-9876543210"
ADMIN = "admin-secret-0123456789"


@pytest.fixture(scope="session")
def guarded(short_dir: Path) -> Iterator[Stack]:
    """One web that asks for a key, with small limits and no worker."""
    directory = Path(tempfile.mkdtemp(prefix="guarded-", dir=short_dir))
    limits = {"MAX_BODY_BYTES": 65_536, "MAX_PROMPT_BYTES": 2_000, "MAX_BATCH_JOBS": 20}
    keys = f"alice={ALICE},bob={BOB},root:*+admin={ADMIN}"
    with running_stack(directory, webs=1, workers=0, API_KEYS=keys, TRUSTED_PROXIES="127.0.0.1", **limits) as running:
        yield running


@pytest.fixture(scope="session")
def alice(guarded: Stack) -> Iterator[httpx.Client]:
    """A client with alice's key."""
    with guarded.client(headers={"Authorization": f"Bearer {ALICE}"}) as client:
        yield client


@pytest.fixture(scope="session")
def bob(guarded: Stack) -> Iterator[httpx.Client]:
    """A client with bob's key."""
    with guarded.client(headers={"Authorization": f"Bearer {BOB}"}) as client:
        yield client


@pytest.fixture(scope="session")
def worker(guarded: Stack) -> HandWorker:
    """The worker of this web's jobs. Its leases outlive any test."""
    return HandWorker(guarded.redis.link, lease_s=300)
