"""Reads the owners file (TOML): the limits of each owner.

[default]                             # owners without a section, and what a section does not set
max_running = 20                      # running jobs at a time, over all workers and models; 0: no limit; unset: the
                                      # SPOOL_OWNER_… settings
rpm = 600                             # requests a minute; 0: no limit
tpm = 100_000                         # tokens a minute, estimated when a job begins; 0: no limit
fairness_key_max_running = 4          # running jobs of each fairness key; 0: no limit
weight = 1.0                          # how much the owner gets beside others (0.1 to 10), and the bound of each
                                      # fairness_weight; unset: 1, and fairness_weight has no other bound
tokens_per_day = 5_000_000            # a submit beyond it gets 429 until the next day (UTC); 0: no limit
tokens_per_month = 100_000_000

[[owner]]
name = "alice"
max_running = 50

[[owner.model]]                       # also [[default.model]]
name = "large"
max_running = 2                       # and rpm, tpm
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, FiniteFloat, field_validator

from spool.owners.limits import Budget, Owners, Rates, Section, merged
from spool.toml_file import Table, check_unique, place_of, read_tables

VARIABLE = "SPOOL_OWNERS_FILE"
_Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
_Tokens = Annotated[int, Field(ge=0, le=1_000_000_000_000)]


class _Rates(Table):
    max_running: _Count | None = None
    rpm: _Count | None = None
    tpm: _Count | None = None

    def rates(self) -> Rates:
        return Rates(self.max_running, self.rpm, self.tpm)


class _Model(_Rates):
    name: str = Field(min_length=1)


class _Default(_Rates):
    weight: FiniteFloat | None = Field(None, ge=0.1, le=10)
    fairness_key_max_running: _Count | None = None
    tokens_per_day: _Tokens | None = None
    tokens_per_month: _Tokens | None = None
    models: list[_Model] = Field([], alias="model")

    def section(self, default: Section) -> Section:
        keys, day, month = self.fairness_key_max_running, self.tokens_per_day, self.tokens_per_month
        section = Section(
            weight=default.weight if self.weight is None else self.weight,
            rates=self.rates(),
            fairness_key_max_running=default.fairness_key_max_running if keys is None else keys,
            budget=Budget(
                default.budget.tokens_per_day if day is None else day,
                default.budget.tokens_per_month if month is None else month,
            ),
        )
        return merged(section, default, {model.name: model.rates() for model in self.models})


class _Owner(_Default):
    name: str = Field(min_length=1, max_length=200)

    @field_validator("name")
    @classmethod
    def _is_owner(cls, value: str) -> str:
        if ":" in value or not value.isprintable() or " " in value:
            raise ValueError("an owner has neither blanks nor ':'")
        return value


class _File(Table):
    default: _Default = Field(default_factory=lambda: _Default.model_validate({}))
    owners: list[_Owner] = Field([], alias="owner")


def load(path: Path) -> Owners:
    """The limits in the owners file at ``path``. Raises ``SettingsError`` with the file, the place in it and the
    value."""
    file = read_tables(path, VARIABLE, _File)
    place = place_of(path, VARIABLE)
    check_unique([owner.name for owner in file.owners], place, "owner")
    for name, models in [("default", file.default.models), *((owner.name, owner.models) for owner in file.owners)]:
        check_unique([model.name for model in models], place, f"{name}: model")
    default = file.default.section(Section())
    return Owners(default, {owner.name: owner.section(default) for owner in file.owners})
