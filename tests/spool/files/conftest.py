"""A bucket on moto, an S3 server that is not ours. Tests that need it are slow: ``make s3`` installs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stack import ROOT, Process, free_port, wait_for

_SERVER = ROOT / ".venv-s3" / "bin" / "moto_server"
_BUCKET = "spool-files"


@pytest.fixture(scope="session")
def bucket(short_dir: Path) -> Iterator[tuple[Any, str]]:
    """A client of the server, and the name of a bucket there."""
    if not _SERVER.exists():
        pytest.skip("there is no moto; `make s3` installs it")
    boto3, port = pytest.importorskip("boto3"), free_port()
    url = f"http://127.0.0.1:{port}"
    server = Process("moto", [str(_SERVER), "-H", "127.0.0.1", "-p", str(port)], dict(os.environ), short_dir)
    server.start()
    try:
        wait_for(lambda: _answers(url), "moto answers")
        secret = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=url, **secret)
        client.create_bucket(Bucket=_BUCKET)
        yield client, _BUCKET
        client.close()
    finally:
        server.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/moto-api/").status_code == 200
    except httpx.TransportError:
        return False
