"""Groups of tests that share a process."""

from __future__ import annotations

import pytest

from tests.distribution import ByGroup, group_of


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/web/test_auth.py::test_key", "tests/web/test_auth.py"),
        ("tests/web/test_hosts.py::test_host[[::1]]", "tests/web/test_hosts.py"),
        ("tests/browser/test_page.py::test_page", "browser"),
        ("tests/test_readme.py::test_command[command0]", "system"),
        ("tests/web/test_wrong_ids.py::test_job", "guarded"),
        ("tests/compatible/test_any_input.py::test_any_body", "open"),
    ],
    ids=["a module", "a parameter with colons", "a folder", "one module of a group", "a fixture", "a fixture first"],
)
def test_group(nodeid: str, group: str) -> None:
    """Tests of a module stay together whatever their parameters contain, and so do the modules of a group."""
    assert group_of(nodeid) == group


def test_xdist_asks_for_the_group(pytestconfig: pytest.Config) -> None:
    """The installed xdist distributes by the method that this scheduler replaces."""
    queue = ByGroup.__mro__[1].schedule.__code__.co_names
    assert "_split_scope" in queue
    assert pytestconfig.hook.pytest_xdist_make_scheduler.get_hookimpls()
