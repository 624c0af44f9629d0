"""One Spool before scripted upstreams, for all tests of what goes through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.compatible.scripts import answers, fails
from tests.faults.upstreams import stack_with_many
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack


@pytest.fixture(scope="session")
def stack_and_upstreams(short_dir: Path) -> Iterator[tuple[Stack, dict[str, ScriptedUpstream]]]:
    """A Spool whose model ``m`` answers with everything; ``fails`` fails as the prompt names."""
    directory = Path(mkdtemp(dir=short_dir))
    with stack_with_many(directory, {"m": [answers], "fails": [fails]}, webs=1) as both:
        yield both
