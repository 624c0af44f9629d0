"""The owners file: its fields, what a section inherits, and that each mistake is named with its place and value."""

from __future__ import annotations

from pathlib import Path

import pytest

from spool.errors import SettingsError
from spool.owners.file import load
from spool.owners.limits import Budget, Owners, Rates, Section

GOOD = """
[default]
max_running = 20
tokens_per_day = 1_000

[[default.model]]
name = "large"
max_running = 4
rpm = 60

[[owner]]
name = "alice"
weight = 2.5
rpm = 600
tpm = 0
fairness_key_max_running = 3
tokens_per_day = 0
tokens_per_month = 9_000

[[owner.model]]
name = "large"
max_running = 2

[[owner.model]]
name = "org/small:1b"
tpm = 5
"""


@pytest.fixture
def owners_file(tmp_path: Path) -> Path:
    """The path of the file."""
    return tmp_path / "owners.toml"


def test_file_is_read(owners_file: Path) -> None:
    """A section has what it sets, and the default's value of each other field, also of each model."""
    owners_file.write_text(GOOD)
    owners = load(owners_file)
    large = Rates(max_running=4, rpm=60)
    assert owners.of("bob") == Section(
        rates=Rates(max_running=20), models={"large": large}, budget=Budget(tokens_per_day=1000)
    )
    assert owners.of("alice") == Section(
        weight=2.5,
        rates=Rates(max_running=20, rpm=600, tpm=0),
        fairness_key_max_running=3,
        models={"large": Rates(max_running=2, rpm=60), "org/small:1b": Rates(tpm=5)},
        budget=Budget(tokens_per_month=9000),
    )


def test_file_that_is_empty(owners_file: Path) -> None:
    """Nobody has limits of its own."""
    owners_file.write_text("")
    assert load(owners_file) == Owners()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_running = 20", "max_running = -1", "default.max_running=-1: must be greater than or equal to 0"),
        ("max_running = 20", 'max_running = "20"', "default.max_running='20': must be a valid integer"),
        ("weight = 2.5", "weight = 11", "owner[0].weight=11: must be less than or equal to 10"),
        ("weight = 2.5", "weigth = 2.5", "owner[0].weigth: unknown; known are max_running"),
        ("tpm = 5", "tmp = 5", "owner[0].model[1].tmp: unknown; known are max_running, rpm, tpm, name"),
        ('name = "alice"', "", "owner[0].name: is missing"),
        ('name = "alice"', 'name = "a:b"', "owner[0].name='a:b': an owner has neither blanks nor ':'"),
        ('name = "org/small:1b"', 'name = "large"', "alice: model 'large' is defined twice"),
        ("[[owner]]", '[[owner]]\nname = "alice"\n[[owner]]', "owner 'alice' is defined twice"),
        ("[default]", "[default", "line 2"),
    ],
    ids=["negative", "text", "weight", "misspelt", "in a model", "nameless", "odd name", "models", "owners", "toml"],
)
def test_file_that_is_wrong(owners_file: Path, old: str, new: str, said: str) -> None:
    """A mistake is named with the setting, the file, the place and the value."""
    owners_file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(SettingsError) as caught:
        load(owners_file)
    assert f"SPOOL_OWNERS_FILE={str(owners_file)!r}: " in str(caught.value)
    assert said in str(caught.value)
