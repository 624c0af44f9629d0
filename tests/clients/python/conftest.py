"""Readers in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.python.reader import PythonReader

Follow = Callable[..., PythonReader]


@pytest.fixture(params=["sync", "async"])
def follow(request: pytest.FixtureRequest) -> Follow:
    """Starts readers of either client."""

    def start(url: str, job: str, **options: Any) -> PythonReader:
        return PythonReader(request.param, url, job, **options)

    return start
