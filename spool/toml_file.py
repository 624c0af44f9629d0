"""Settings files in TOML: read and checked by pydantic; an error names the file, the place in it and the value."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from spool.errors import SettingsError
from spool.validation import explain

_TEXTS = {"missing": "is missing", "model_type": "must be a table"}


class Table(BaseModel):
    """A table of a settings file. Unknown keys are errors, so that a misspelt one does not pass for unset."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


AnyTable = TypeVar("AnyTable", bound=Table)


def read_tables(path: Path, variable: str, file: type[AnyTable], secrets: Set[str] = frozenset()) -> AnyTable:
    """The content of the file at ``path``, which the setting ``variable`` names. Raises ``SettingsError`` with the
    file, the place in it and, unless its key is one of the ``secrets``, the value."""
    place = place_of(path, variable)
    try:
        return file.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as exc:
        raise SettingsError(f"{place}: {exc.strerror}") from exc
    except ValidationError as exc:
        errors = "; ".join(_explain(error, file, secrets) for error in exc.errors())
        raise SettingsError(f"{place}: {errors}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{place}: {exc}") from exc


def place_of(path: Path, variable: str) -> str:
    """The file, as errors name it."""
    return f"{variable}={str(path)!r}"


def check_unique(names: Sequence[str], place: str, kind: str) -> None:
    """Raise ``SettingsError`` if one of the names is there twice."""
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{place}: {kind} {name!r} is defined twice")


def _explain(error: Any, file: type[Table], secrets: Set[str]) -> str:
    """``upstream[0].model[1].max_running=-8: …``"""
    *parents, last = error["loc"]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).removeprefix(".")
    if error["type"] == "extra_forbidden":
        fields = _table_at(file, parents).model_fields.items()
        return f"{place}: unknown; known are {', '.join(field.alias or name for name, field in fields)}"
    if error["type"] in _TEXTS:
        return f"{place}: {_TEXTS[error['type']]}"
    is_shown = isinstance(error["input"], (str, int, float)) and last not in secrets
    return place + (f"={error['input']!r}" if is_shown else "") + f": {explain(error)}"


def _table_at(table: type[Table], parents: Sequence[int | str]) -> type[Table]:
    """The table in this place of a file."""
    for part in parents:
        if isinstance(part, str):
            field = next(field for name, field in table.model_fields.items() if part in (name, field.alias))
            kinds = [field.annotation, *get_args(field.annotation)]
            table = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Table))
    return table
