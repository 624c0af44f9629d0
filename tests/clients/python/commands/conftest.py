"""Terminals, which are gone at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.python.commands.terminal import Terminal

Run = Callable[..., Terminal]


@pytest.fixture
def terminal() -> Iterator[Run]:
    """Starts ``spool`` under a terminal."""
    started: list[Terminal] = []

    def start(url: str, *arguments: str, **options: Any) -> Terminal:
        started.append(Terminal(url, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()
