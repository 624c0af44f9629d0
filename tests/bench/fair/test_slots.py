"""The virtual clock: jobs begin when a slot is free, and again after a kill."""

from __future__ import annotations

from bench.fair.disciplines import ByTurns, FirstCome
from bench.fair.slots import Service, Slots
from bench.fair.trace import Work, late_comer


def begins(services: list[Service]) -> list[tuple[str, float]]:
    """Whose jobs began when."""
    return sorted(((service.work.owner, service.begin_s) for service in services), key=lambda one: one[1])


def test_first_come_runs_in_the_order_of_arrival() -> None:
    """The late owner's job begins after all that came before it."""
    services = Slots(FirstCome(), 1).run(late_comer(3, 1, 100), float("inf"))
    assert begins(services) == [("a", 0.0), ("a", 2.0), ("a", 4.0), ("b", 6.0)]


def test_turns_let_the_late_owner_begin_with_the_next_slot() -> None:
    """The late owner's job begins when the first job that ran at its arrival has ended."""
    services = Slots(ByTurns(), 1).run(late_comer(3, 1, 100), float("inf"))
    assert begins(services)[:2] == [("a", 0.0), ("b", 2.0)]


def test_kill_loses_the_attempts_of_one_worker() -> None:
    """A killed worker's job begins again at once, and its lost attempt is no service."""
    services = Slots(FirstCome(), 2, workers=2, kill_every_s=1.5).run([Work("a", 100)] * 2, 3.4)
    assert sorted((service.begin_s, service.end_s, service.is_lost) for service in services) == [
        (0.0, 1.5, True),
        (0.0, 2.0, False),
        (1.5, 3.5, False),
    ]


def test_run_ends_at_its_time() -> None:
    """Jobs that still run at the end are among the services; waiting ones are not."""
    services = Slots(FirstCome(), 1).run([Work("a", 100)] * 3, 3.0)
    assert begins(services) == [("a", 0.0), ("a", 2.0)]
