"""One Spool before scripted upstreams, for all tests of what goes through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.compatible.scripts import answers, fails, refuses_or_cites, thinks
from tests.faults.upstreams import stack_with_many
from tests.scripted_upstream import ScriptedUpstream
from tests.stack import Stack


@pytest.fixture(scope="session")
def stack_and_upstreams(short_dir: Path) -> Iterator[tuple[Stack, dict[str, ScriptedUpstream]]]:
    """A Spool whose model ``m`` answers with everything; ``fails`` fails as the prompt names; ``thinks`` thinks, and
    wants back what it thought; ``marks`` refuses or cites."""
    directory = Path(mkdtemp(dir=short_dir))
    models = {"m": [answers], "fails": [fails], "thinks": [thinks], "marks": [refuses_or_cites]}
    limits = {"thinks": {"reasoning": '"reasoning"'}}
    with stack_with_many(directory, models, limits=limits, webs=1) as both:
        yield both
