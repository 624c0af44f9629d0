"""``GET /usage``: what ended attempts have used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from spool.jobs.usage import GROUPS, Figures, UsageLedger, grouped, months_of
from web.arguments import Query, query
from web.auth import caller, scope
from web.contract import Answer, Contract, json_content
from web.delivery.building import building
from web.json_response import json_response
from web.problems import field_problem
from web.services import state
from web.time_slices import in_slices

blueprint = Blueprint("usage", __name__)

_DAYS_AT_MOST = 400
_ROWS_AT_MOST = 10_000
_HASHES_AT_MOST = 10_000
"""Months of owners that one call reads."""


def _date(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise ValueError("must be a day such as 2026-11-30") from None


def _names(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    names = tuple(filter(None, value.split(",")))
    if len(set(names)) < len(names) or not set(names) <= set(GROUPS):
        raise ValueError(f"must be some of {', '.join(GROUPS)}, separated by commas")
    return names


Day = Annotated[date, BeforeValidator(_date)]


class UsageQuery(Query):
    """The query of ``GET /usage``."""

    since: Day | None = Field(
        None, alias="from", description="The first day (UTC); by default the first of this month."
    )
    until: Day | None = Field(None, alias="to", description="The last day (UTC), included; by default today.")
    group: Annotated[tuple[str, ...], Field(json_schema_extra={"type": "string"}), BeforeValidator(_names)] = Field(
        ("day", "model"), description=f"What the figures are divided by: some of {', '.join(GROUPS)}, with commas."
    )


class UsageFigures(TypedDict):
    """What was used. ``jobs`` and ``attempts`` have ended; ``unsuccessful_attempts`` were cancelled, failed, lost or
    handed back, and their tokens are those of their partial answers."""

    input_tokens: int
    output_tokens: int
    jobs: int
    attempts: int
    unsuccessful_attempts: int
    seconds: float


class UsageRow(UsageFigures, total=False):
    """The figures of one group, which the other members name."""

    day: str
    model: str
    owner: str
    credential: str


UsageDocument = TypedDict(
    "UsageDocument", {"from": str, "to": str, "group": list[str], "usage": list[UsageRow], "total": UsageFigures}
)
"""The usage from one day to another."""


@blueprint.get("/usage")
@scope("jobs:read")
@Contract(
    query=UsageQuery,
    answers={200: Answer("The usage.", [json_content(UsageDocument, lambda: _example())])},
    errors=[422, 503],
)
def usage() -> Response:
    """Tokens, jobs and seconds of ended attempts by day (UTC), model, owner and credential.

    A key with the scope `admin` sees all owners, any other one its own owner's usage. Days older than 400 days are not
    kept. An attempt counts on the day of its end.
    """
    asked, today = query(UsageQuery), datetime.now(UTC).date()
    until = asked.until or today
    since = asked.since or until.replace(day=1)
    if not 0 <= (until - since).days < _DAYS_AT_MOST:
        raise field_problem("from", f"must be at most {_DAYS_AT_MOST - 1} days before `to`, and not after it")
    with building():
        return _usage(asked.group, since, until)


def _usage(group: tuple[str, ...], since: date, until: date) -> Response:
    ledger = UsageLedger(state().shards)
    owners = ledger.owners(since, until) if "admin" in caller().scopes else [caller().owner]
    if len(owners) * months_of(since, until) > _HASHES_AT_MOST:
        raise field_problem("from", f"{len(owners)} owners have usage: ask for fewer months")
    sums = grouped(in_slices(ledger.rows(owners, since, until)), group, _ROWS_AT_MOST)
    if len(sums) > _ROWS_AT_MOST:
        raise field_problem("group", f"gives more than {_ROWS_AT_MOST} rows: name fewer groups, or ask for fewer days")
    return json_response(_document(since, until, group, sums))


def _document(
    since: date, until: date, group: tuple[str, ...], sums: Mapping[tuple[str, ...], Figures]
) -> UsageDocument:
    rows: list[UsageRow] = [
        {**dict(zip(group, key, strict=True)), **_figures(figures)}  # type: ignore[typeddict-item]
        for key, figures in in_slices(sums.items())
    ]
    return {
        "from": since.isoformat(),
        "to": until.isoformat(),
        "group": list(group),
        "usage": rows,
        "total": _figures(sum(in_slices(sums.values()), Figures())),
    }


def _figures(figures: Figures) -> UsageFigures:
    return {
        "input_tokens": figures.input_tokens,
        "output_tokens": figures.output_tokens,
        "jobs": figures.jobs,
        "attempts": figures.attempts,
        "unsuccessful_attempts": figures.unsuccessful,
        "seconds": figures.ms / 1000,
    }


def _example() -> UsageDocument:
    day = date(2026, 11, 30)
    figures = Figures(1200, 34_000, 40, 42, 2, 615_250)
    return _document(day, day, ("day", "model"), {(day.isoformat(), "demo"): figures})
