"""Readers in Node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.js.node_reader import NodeReader

Follow = Callable[..., NodeReader]


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Starts readers, which are gone at the end."""
    readers: list[NodeReader] = []

    def start(*args: Any, **options: Any) -> NodeReader:
        readers.append(NodeReader(*args, **options))
        return readers[-1]

    yield start
    for reader in readers:
        reader.close()
