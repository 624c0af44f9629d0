"""The official SDKs at a vendor and through Spool: each runs the same program twice, and sees the same or better.

``side_by_side/`` has the programs, the vendor's answers in its three protocols, and the differences that are allowed,
each with its reason. The stack cancels a job whose reader left, so that a stop arrives at the vendor.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from tests.compatible.side_by_side.comparison import CLIENTS, Outcome, Upstream, jobs_of, model_of, run
from tests.compatible.side_by_side.differences import allowed
from tests.compatible.side_by_side.scenarios import SCENARIOS
from tests.compatible.side_by_side.table import table, write, written
from tests.stack import running_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

Compared = tuple[dict[str, Outcome], dict[str, Outcome], Any]
"""Outcomes directly and through Spool, and how many jobs there were, by model."""


@pytest.fixture(scope="module")
def compared(short_dir: Path) -> Callable[[str], Compared]:
    """What clients of one runtime saw, by one of them."""

    @cache
    def of_runtime(runtime: tuple[str, Any]) -> Compared:
        clients = [name for name, client in CLIENTS.items() if (client.script, client.directory) == runtime]
        with Upstream(clients) as vendor:
            direct = run(vendor, vendor.url.removesuffix("/v1"))
        directory = Path(mkdtemp(dir=short_dir))
        models = directory / "models.toml"
        settings = {"ON_DISCONNECT": "cancel", "HEARTBEAT_S": 15, "MODELS_FILE": models}
        with Upstream(clients) as vendor:
            models.write_text(vendor.models_file())
            with running_stack(directory, webs=1, workers=1, concurrency=100, **settings) as stack:
                through = run(vendor, stack.webs[0].url)
                return direct, through, jobs_of(stack)

    return lambda name: of_runtime((CLIENTS[name].script, CLIENTS[name].directory))


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("client", CLIENTS)
def test_side_by_side(compared: Callable[[str], Compared], client: str, scenario: str) -> None:
    """A client sees through Spool what it sees at the vendor, or an allowed difference, and each request is one job."""
    direct, through, jobs = compared(client)
    model = model_of(client, scenario)
    ours, theirs = through[model], direct[model]
    difference = allowed(client, scenario)
    differing = {field for field in theirs if ours[field] != theirs[field]}
    assert differing <= (difference.fields if difference else set()), (theirs, ours)
    assert not difference or differing, f"the difference is gone: {difference.reason}"
    assert ours["asked"] <= theirs["asked"]
    # The refused call is repeated within the job.
    assert jobs[model] == (1 if scenario == "limited" else ours["asked"])


def test_table() -> None:
    """The page's table is that of the comparison. ``WRITE_TABLE=1`` writes it."""
    if os.environ.get("WRITE_TABLE"):
        write()
    assert written() == table()
