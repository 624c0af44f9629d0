"""Limits of owners: what each may run and use, as the owners file sets it and claims read it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Rates:
    """Limits of running jobs, and of requests and tokens a minute; 0: none, None: not set."""

    max_running: int | None = None
    rpm: int | None = None
    tpm: int | None = None

    def over(self, default: Rates) -> Rates:
        """These limits, and those of ``default`` where one is not set."""
        return Rates(
            default.max_running if self.max_running is None else self.max_running,
            default.rpm if self.rpm is None else self.rpm,
            default.tpm if self.tpm is None else self.tpm,
        )

    def part(self, shards: int) -> Rates:
        """One shard's part, rounded up."""
        return Rates(*(value and -(-value // shards) for value in (self.max_running, self.rpm, self.tpm)))

    def as_dict(self) -> dict[str, int]:
        """The limits that are set."""
        values = {"max_running": self.max_running, "rpm": self.rpm, "tpm": self.tpm}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens that may be used in a day and in a month (UTC); 0: no limit."""

    tokens_per_day: int = 0
    tokens_per_month: int = 0

    def part(self, shards: int) -> Budget:
        """One shard's part, rounded up."""
        return Budget(-(-self.tokens_per_day // shards), -(-self.tokens_per_month // shards))


NO_BUDGET = Budget()


@dataclass(frozen=True, slots=True)
class Section:
    """The limits of one owner. ``weight`` bounds that of its flows; None: they may have any.
    ``fairness_key_max_running`` limits the running jobs of each of its fairness keys; 0: no limit."""

    weight: float | None = None
    rates: Rates = Rates()
    fairness_key_max_running: int = 0
    models: Mapping[str, Rates] = field(default_factory=dict)
    budget: Budget = NO_BUDGET

    def published(self, shards: int) -> bytes:
        """The JSON that claims read, with one shard's part of each limit."""
        limits: dict[str, Any] = dict(self.rates.part(shards).as_dict())
        if self.weight is not None:
            limits["weight"] = self.weight
        if self.fairness_key_max_running:
            limits["fairness_key_max_running"] = -(-self.fairness_key_max_running // shards)
        models = {name: rates.part(shards).as_dict() for name, rates in self.models.items()}
        if models:
            limits["models"] = models
        return orjson.dumps(limits, option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, slots=True)
class Owners:
    """The limits of all owners: those with a section of their own, and the ``default`` of all others."""

    default: Section = Section()
    sections: Mapping[str, Section] = field(default_factory=dict)

    def of(self, owner: str) -> Section:
        """The limits of an owner."""
        return self.sections.get(owner, self.default)

    def published(self, shards: int = 1) -> dict[str, bytes]:
        """What claims read: owner → JSON; '' for the default."""
        sections = {"": self.default, **self.sections}
        return {owner: section.published(shards) for owner, section in sections.items()}


NO_OWNERS = Owners()
"""No file: only the ``SPOOL_OWNER_…`` settings limit owners."""


def digest_of(published: Mapping[str, bytes]) -> str:
    """A digest that is the same only for the same limits."""
    parts = (b"%s %s\n" % (owner.encode(), limits) for owner, limits in sorted(published.items()))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def merged(section: Section, default: Section, models: Mapping[str, Rates]) -> Section:
    """A section whose rates and ``models`` fall back to the default's, one by one."""
    names = {**default.models, **models}
    return replace(
        section,
        rates=section.rates.over(default.rates),
        models={name: models.get(name, Rates()).over(default.models.get(name, Rates())) for name in names},
    )
