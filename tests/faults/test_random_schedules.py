"""Random schedules: what dies and when comes from a seed, which is printed with what it found."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.schedules import grounds, run_seeds
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FIXED = (3, 6, 9, 19)
"""Seeds with Redis restarts, killed webs and workers that die twice."""


@pytest.fixture(scope="module")
def ground(short_dir: Path) -> Iterator[Stack]:
    """The stack that all of them run on, one after the other."""
    directory = short_dir / "schedules"
    directory.mkdir()
    with grounds(directory) as stack:
        yield stack


@pytest.mark.parametrize("seed", FIXED)
def test_a_schedule_that_is_known(ground: Stack, seed: int) -> None:
    """Whatever dies, every job ends once, as it was to, and every reader has its log byte for byte."""
    assert run_seeds(ground, [seed]).violations == []


def test_schedules_of_the_day(ground: Stack) -> None:
    """The same for seeds that nobody has tried: ``python -m tests.faults.schedules --seeds 1 --first SEED`` runs one
    again."""
    outcome = run_seeds(ground, [secrets.randbelow(10**9) for _ in range(4)])
    print(outcome)
    assert outcome.violations == []


def test_schedules_on_two_shards(directory: Path) -> None:
    """The same holds where jobs lie on two shards."""
    with grounds(directory, shards=2) as stack:
        assert run_seeds(stack, FIXED[:2]).violations == []
