"""nginx for the length of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import browser
from tests.compose.nginx import Nginx

__all__ = ["browser", "start_nginx"]

Start = Callable[..., Nginx]


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[Start]:
    """``start_nginx(web1, web2)`` starts one before these two ports."""
    started: list[Nginx] = []

    def start(web1: int, web2: int, **changes: str) -> Nginx:
        started.append(Nginx(tmp_path, web1, web2, **changes))
        return started[-1]

    yield start
    for nginx in started:
        nginx.close()
