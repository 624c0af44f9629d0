"""Jobs, and proxies before them, for every client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.cutting_proxy import CuttingProxy
from tests.clients.http_proxy import HttpProxy
from tests.stack import Stack, running_stack, wait_for


class Jobs:
    """Submits jobs of the demo, and knows how they ended."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def submit(self, **params: Any) -> str:
        """A job, whose text is different at every place."""
        body = {"prompt": "count", "model": "demo", "params": {"stamp": True, **params}}
        return str(self._client.post("/jobs", json=body).raise_for_status().json()["id"])

    def look(self, job: str) -> dict[str, Any]:
        """The job."""
        return dict(self._client.get(f"/jobs/{job}").raise_for_status().json())

    def cancel(self, job: str) -> None:
        """Ask for its end."""
        self._client.post(f"/jobs/{job}/cancel").raise_for_status()

    def ended(self, job: str, within_s: float = 60.0) -> dict[str, Any]:
        """The job, once it has ended."""
        wait_for(lambda: self.look(job)["ended_at"], f"{job} has ended", within_s)
        return self.look(job)


@pytest.fixture
def jobs(stack: Stack) -> Iterator[Jobs]:
    """Jobs of the shared stack."""
    with stack.client() as client:
        yield Jobs(client)


@pytest.fixture
def proxy(stack: Stack) -> Iterator[HttpProxy]:
    """A proxy before the first web of the shared stack."""
    made = HttpProxy(stack.webs[0].port)
    yield made
    made.close()


@pytest.fixture
def cutter(stack: Stack) -> Iterator[CuttingProxy]:
    """A proxy that forwards bytes, and knows nothing of HTTP."""
    made = CuttingProxy(stack.webs[0].port)
    yield made
    made.close()


@pytest.fixture
def own_stack(directory: Path) -> Iterator[Stack]:
    """A stack of the test's own, whose parts it may stop."""
    with running_stack(directory, webs=1, workers=1, aof=True) as running:
        yield running


@pytest.fixture
def own_jobs(own_stack: Stack) -> Iterator[Jobs]:
    """Jobs of that stack."""
    with own_stack.client() as client:
        yield Jobs(client)
