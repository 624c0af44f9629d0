"""Ids of jobs and batches: they name their shard, and nothing else passes for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.ids import new_batch_id, new_job_id, shard_of


@given(st.integers(0, 9999))
def test_id_names_its_shard(shard: int) -> None:
    """An id tells its shard, and no two are the same."""
    assert shard_of(new_job_id(shard)) == shard_of(new_batch_id(shard)) == shard
    assert new_job_id(shard) != new_job_id(shard)


@given(st.text())
def test_any_other_text(text: str) -> None:
    """Text that does not begin like an id has no shard: the error names it."""
    if text[:1] not in ("j", "b"):
        with pytest.raises(ValueError, match="is not the id"):
            shard_of(text)


@pytest.mark.parametrize("text", ["", "j", "j0", "j0-", "j٠-" + "0" * 26, "j0-" + "0" * 26 + "\n", "xj0-" + "0" * 26])
def test_text_that_is_nearly_an_id(text: str) -> None:
    """An invalid id is an error, and never shard 0."""
    with pytest.raises(ValueError, match="is not the id"):
        shard_of(text)
