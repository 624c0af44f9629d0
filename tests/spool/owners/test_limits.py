"""What claims read of the limits of owners."""

from __future__ import annotations

import orjson

from spool.owners.limits import Budget, Owners, Rates, Section, digest_of

SECTION = Section(
    weight=0.5,
    rates=Rates(max_running=5, rpm=0),
    fairness_key_max_running=3,
    models={"m": Rates(tpm=7)},
    budget=Budget(9),
)


def test_limits_as_published() -> None:
    """An unset limit is missing, and so is the budget, which claims do not need; the default has no name."""
    published = Owners(Section(rates=Rates(tpm=3)), {"ann": SECTION}).published()
    assert {owner: orjson.loads(limits) for owner, limits in published.items()} == {
        "": {"tpm": 3},
        "ann": {
            "weight": 0.5,
            "max_running": 5,
            "rpm": 0,
            "fairness_key_max_running": 3,
            "models": {"m": {"tpm": 7}},
        },
    }


def test_limits_of_a_shard() -> None:
    """A shard gets its part of each limit, rounded up, and the whole weight."""
    (_default, ann) = Owners(sections={"ann": SECTION}).published(2).values()
    assert orjson.loads(ann) == {
        "weight": 0.5,
        "max_running": 3,
        "rpm": 0,
        "fairness_key_max_running": 2,
        "models": {"m": {"tpm": 4}},
    }
    assert Budget(9, 4).part(2) == Budget(5, 2)


def test_digest_differs_with_the_limits() -> None:
    """The same limits have the same digest in any order; other limits, or those of another owner, another one."""
    published = {"a": b"{}", "b": b'{"rpm":1}'}
    assert digest_of(published) == digest_of(dict(reversed(published.items())))
    others = [{"a": b"{}"}, {"a": b"{}", "b": b"{}"}, {"b": b"{}", "a": b'{"rpm":1}'}]
    assert len({digest_of(each) for each in (published, *others)}) == 4
