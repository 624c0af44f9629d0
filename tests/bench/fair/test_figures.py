"""The figures of fairness, by hand."""

from __future__ import annotations

import pytest

from bench.fair.figures import jain, late, tokens_by_weight
from bench.fair.slots import Service
from bench.fair.trace import Work


def test_jain_of_equal_shares_is_one() -> None:
    """Equal shares give 1, whatever their size."""
    assert jain([5.0, 5.0, 5.0]) == pytest.approx(1.0)


def test_jain_of_one_share_is_its_part_of_the_owners() -> None:
    """If one of four owners has everything, the index is a quarter."""
    assert jain([8.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)


def test_tokens_by_weight_count_what_was_generated_until_then() -> None:
    """A running job counts by its tokens until then, a lost attempt not at all; an owner without any has zero."""
    heavy, light, idle = Work("heavy", 100, weight=2.0), Work("light", 50), Work("idle", 50)
    services = [Service(heavy, 0.0, 2.0), Service(light, 0.0, 1.0), Service(light, 0.0, 1.0, is_lost=True)]
    assert tokens_by_weight([heavy, light, idle], services, 1.0) == [25.0, 50.0, 0.0]


def test_late_owner_is_compared_with_its_part_of_the_slots() -> None:
    """200 tokens on two slots take 2 s; an end after 3 s is one and a half times that."""
    works = [Work("b", 100)] * 2
    found = late(works, [Service(works[0], 1.5, 3.5), Service(works[1], 2.0, 4.0)], 2.0, arrived_s=1.0)
    assert (found.first_s, found.last_s / found.fair_s) == (0.5, 1.5)


def test_late_owner_without_an_end_has_none() -> None:
    """As long as one of its jobs has not begun, its last end is infinite."""
    works = [Work("b", 100)] * 2
    found = late(works, [Service(works[0], 1.5, 3.5)], 2.0, arrived_s=1.0)
    assert (found.first_s, found.last_s) == (0.5, float("inf"))
