"""A disk of Redis on which nothing more fits."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.stack import Stack

needs_prlimit = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")


@contextmanager
def full_disk(stack: Stack) -> Iterator[None]:
    """No file of Redis may grow beyond what its append-only file has now: its writes fail as on a full disk."""
    sizes = [file.stat().st_size for file in (stack.directory / "appendonlydir").iterdir()]
    before = resource.prlimit(stack.redis.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(stack.redis.pid, resource.RLIMIT_FSIZE, (max(sizes) + 2048, before[1]))
    try:
        yield
    finally:
        resource.prlimit(stack.redis.pid, resource.RLIMIT_FSIZE, before)
