"""The real upstream: ``transformers serve`` on a tiny model made on the spot. serve.py says how to install it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.models.model import Upstream

SERVE = Path(__file__).with_name("serve.py")
VENV = SERVE.parents[2] / ".venv-upstream"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These need a model server that is installed apart: `make upstream`."""
    for item in items:
        if item.nodeid.startswith("tests/real_upstream/"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """A running ``transformers serve`` with the tiny model."""
    if not VENV.exists():
        pytest.skip("no .venv-upstream; `make upstream` installs it")
    data = tmp_path_factory.mktemp("upstream")
    command = [sys.executable, str(SERVE), "--port", "0", "--data", str(data)]
    with (data / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    with server:
        assert server.stdout is not None
        try:
            ready = next((line for line in server.stdout if line.startswith("ready ")), None)
            assert ready, (data / "log").read_text()
            yield Upstream("real", ready.split()[1])
        finally:
            server.terminate()
            server.stdout.close()
            server.wait(20)
