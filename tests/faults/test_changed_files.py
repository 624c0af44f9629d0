"""The owners file and the models file are changed while webs and workers run."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.scripted_upstream import Call, ScriptedUpstream
from tests.stack import Stack, running_stack, wait_for

KEYS = "alice=alice-secret-0123456789,bob=bob-secret-9876543210"


def answers(call: Call) -> None:
    """An answer that takes a while."""
    call.begin()
    call.hold(0.5)
    call.text("x")
    call.done()


def write(path: Path, text: str) -> None:
    """Replace the file, as an editor or a mounted volume does."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def models(client: httpx.Client) -> list[str]:
    """The models that a web knows."""
    return [model["name"] for model in client.get("/models").json()["models"]]


def running(client: httpx.Client) -> int:
    """How many of the caller's jobs run."""
    return len(client.get("/jobs", params={"status": "running"}).json()["jobs"])


def clients_of(stack: Stack, name: str) -> list[httpx.Client]:
    """A client of each web with this owner's key."""
    secret = dict(pair.split("=") for pair in KEYS.split(","))[name]
    headers = {"Authorization": f"Bearer {secret}"}
    return [httpx.Client(base_url=web.url, headers=headers, timeout=10) for web in stack.webs]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_changed_files_hold_in_all_processes(directory: Path) -> None:
    """A model that is added is served by webs and workers within seconds; an owner's limit holds, makes its jobs wait,
    and is lifted; a file with an error changes nothing."""
    models_file, owners_file = directory / "models.toml", directory / "owners.toml"
    write(models_file, "")
    write(owners_file, '[[owner]]\nname = "alice"\nmax_running = 1\n')
    settings = {"MODELS_FILE": models_file, "OWNERS_FILE": owners_file, "API_KEYS": KEYS}
    with ScriptedUpstream(answers) as upstream, running_stack(directory, webs=2, workers=2, **settings) as stack:
        alice, bob = (clients_of(stack, name) for name in ("alice", "bob"))
        assert models(alice[0]) == ["demo"]
        write(models_file, f'[[upstream]]\nname = "u"\nurl = "{upstream.url}"\n[[upstream.model]]\nname = "m"\n')
        wait_for(lambda: all(models(client) == ["m", "demo"] for client in alice), "both webs know the model", 10)
        job = alice[1].post("/jobs", json={"prompt": "x", "model": "m"}).json()["id"]
        wait_for(lambda: alice[0].get(f"/jobs/{job}").json()["status"] == "succeeded", "a worker serves it", 10)

        slow = {"prompt": "x", "model": "demo", "params": {"tokens": 1000, "rate": 10}}
        ids = [alice[0].post("/jobs", json=slow).json()["id"] for _ in range(3)]
        bob[0].post("/jobs", json=slow)
        wait_for(lambda: running(bob[0]) == 1, "bob's job goes past", 10)
        assert running(alice[0]) == 1
        waiting = alice[1].get(f"/jobs/{ids[2]}").json()["waiting_for"]
        assert waiting == {"reason": "owner_limit", "running": 1, "limit": 1, "scope": "owner"}
        write(owners_file, '[[owner]]\nname = "alice"\nmax_runing = 3\n')
        wait_for(lambda: "max_runing" in stack.webs[0].output.read_text(), "the web reports the mistake", 10)
        assert running(alice[0]) == 1
        write(owners_file, '[[owner]]\nname = "alice"\nmax_running = 2\n')
        wait_for(lambda: running(alice[0]) == 2, "one more begins", 10)
        for client in (alice[0], bob[0]):
            for one in client.get("/jobs", params={"status": "running"}).json()["jobs"]:
                client.post(f"/jobs/{one['id']}/cancel")
        for client in (*alice, *bob):
            client.close()
