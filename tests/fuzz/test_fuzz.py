"""A fixed slice of the fuzz; ``make fuzz`` runs the rest."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from spool.settings import WebSettings
from tests.fuzz.cases import Known, case_of
from tests.fuzz.mutations import mutated
from tests.fuzz.routes import OTHERS, POSTS
from tests.fuzz.target import fuzzed_stack
from web.app import create_app

SEED, CASES = 7, 250
ENDLESS_S = 2.0
"""``make fuzz`` has the limit. This one is for any machine, however busy: it finds what grows with the square."""


@pytest.mark.slow
def test_cases_of_one_seed(directory: Path) -> None:
    """Whatever is sent, no answer is an internal error, nothing unexpected is logged, and nothing computes for long."""
    with fuzzed_stack(directory, ENDLESS_S) as (stack, target):
        known = target.prepare(stack)
        wrong = [f"{number}: {one}" for number in range(CASES) for one in target.run(case_of(SEED, number, known))]
        assert not wrong
        assert len(target.counts) > 5, "cases reach many kinds of answers"


def test_case_again() -> None:
    """A case depends on its seed, its number and the ids alone."""
    known = Known("127.0.0.1:1", "j0-1", "j0-2", "j0-3")
    cases = [case_of(1, number, known) for number in range(20)]
    assert cases == [case_of(1, number, known) for number in range(20)]
    assert len({case.request for case in cases}) > 15


def test_mutations() -> None:
    """A mutation leaves its example as it is."""
    example = {"a": [1, {"b": "c"}]}
    made = {mutated(random.Random(number), example) for number in range(100)}
    assert len(made) > 50
    assert example == {"a": [1, {"b": "c"}]}


def test_every_route_is_called() -> None:
    """The fuzz calls every route of the application, but for the few that only an administrator or the console has."""
    app = create_app(WebSettings(redis_url=SecretStr("redis://127.0.0.1:1")))
    called = {re.sub(r"{id}", "<>", route) for _, route in [*OTHERS, *(("POST", post) for post in POSTS)]}
    called |= {"/batches", "/ws", "/jobs/<>/ws", "/batches/<>/ws"}
    known = {re.sub("<[^>]+>", "<>", rule.rule) for rule in app.url_map.iter_rules() if not _is_elsewhere(rule.rule)}
    assert known - {re.sub("(resp|conv)_<>", "<>", route) for route in called} == set()


def _is_elsewhere(route: str) -> bool:
    return route.startswith(("/admin/", "/docs/", "/session", "/static/client/", "/openai/"))
