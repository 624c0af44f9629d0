"""The contract of jobs on one shard and on two: each test that uses ``link`` runs with both."""

from __future__ import annotations

import pytest

ONE_SHARD = {
    *("test_claim_script", "test_damaged_records", "test_job_model", "test_keeper", "test_owner_limits"),
    *("test_scripts", "test_shards", "test_takeover", "test_fair_queue", "test_closed_models", "test_rates"),
    *("test_limit_scopes", "test_event_logs"),
}
"""Modules about the order and the figures within a shard, or with shards of their own. A single test of another module
is marked ``one_shard``."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with one shard and with two."""
    module, mark = metafunc.module.__name__.rpartition(".")[2], metafunc.definition.get_closest_marker("one_shard")
    if "shard_count" in metafunc.fixturenames and module not in ONE_SHARD and mark is None:
        metafunc.parametrize("shard_count", [1, 2], ids=["one shard", "two shards"])
