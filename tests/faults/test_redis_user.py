"""The permissions that docs/operations.md gives Spool's user of Redis are enough: nothing is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.stack import ROOT, Stack, wait_for

pytestmark = pytest.mark.slow  # `make faults`

RULE = re.search(r"`ACL SETUSER (spool on >… [^`]*)`", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack whose programs are the user ``spool`` of Redis; the broker has the default user."""
    assert RULE
    made = Stack(tmp_path, webs=1, workers=1, PACK_AFTER_S=1, aof=True)
    made.redis.argv += ["--user", *RULE[1].replace("…", "secret12").split()]
    for process in [*made.webs, *made.workers]:
        process.env = {
            **process.env,
            "SPOOL_REDIS_URL": f"unix://spool@{made.redis.socket_path}?password=secret12",
            "SPOOL_BROKER_URL": f"redis+socket://{made.redis.socket_path}?virtual_host=0",
        }
    try:
        made.start()
        yield made
    finally:
        made.close()


def use(client: httpx.Client) -> None:
    """Submit, stream, cancel, list, batches, usage, and a log that is packed."""
    fast = {"prompt": "Hello", "params": {"tokens": 5, "rate": 0}}
    first = client.post("/jobs", json=fast, headers={"Prefer": "wait=20", "Idempotency-Key": "k1"}).json()
    assert first["status"] == "succeeded"
    client.get(f"/jobs/{first['id']}/stream").raise_for_status()
    slow = client.post("/jobs", json={"prompt": "Hello", "conversation": {"id": "c", "on_busy": "enqueue"}}).json()
    client.post(f"/jobs/{slow['id']}/cancel").raise_for_status()
    batch = client.post("/batches", json=[fast, fast]).raise_for_status().json()
    wait_for(lambda: client.get(f"/batches/{batch['id']}").json()["counts"]["succeeded"] == 2, "the batch is done")
    chat = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    client.post("/v1/chat/completions", json=chat).raise_for_status()
    for path in ("/jobs", "/batches", "/models", "/usage", "/metrics", "/readyz"):
        client.get(path).raise_for_status()
    client.delete(f"/jobs/{first['id']}").raise_for_status()


def test_documented_permissions_are_enough(stack: Stack) -> None:
    """Redis logs every command that it refuses to a user; after a use of everything, there is none."""
    with stack.client(0) as client:
        use(client)
        checks = client.get("/readyz").json()["checks"]
        assert checks["permission_missing"]["ok"]
    unpacked = "spool:{0}:unpacked"
    wait_for(lambda: stack.redis.link.call("ZCARD", unpacked) == 0, "the logs are packed")
    assert stack.redis.link.call("ACL", "LOG") == []
