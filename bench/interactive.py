"""``python -m bench.interactive``: submit to first token of interactive jobs, while 10,000 batch jobs wait and run.

Two stacks stand side by side: one with an empty queue, one with the batch jobs, which fill every slot that they may
have. Single interactive jobs go to both in turns, so that the load of the machine meets both alike. Before, the same on
one stack that has the machine for itself.

The batch jobs belong to two owners, the first of whom came earlier and has four times as many. How many jobs of each
end meanwhile shows whether the queue is fair over batches.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx

from bench.fair.figures import jain
from bench.percentile import percentile
from rig.process import wait_for
from rig.stack import Stack, running_stack

_SLOTS = 20
_WORKERS = 2
_BATCH_PARAMS = {"tokens": 100, "rate": 20, "first_token_s": 0}
_BODY = {"prompt": "x", "params": {"tokens": 3, "rate": 0, "first_token_s": 0}}
_RUNNING = "spool:{0}:running:demo"
_PAUSE_S = 0.05
_OWNERS = {"first": 0.8, "second": 0.2}
"""The owners of the batch jobs, and the part of them that each has."""
_CALLER = "caller"
_KEYS = {owner: f"{owner}-secret-0123456789" for owner in (_CALLER, *_OWNERS)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.interactive", description=__doc__)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--batch", type=int, default=10_000, help="batch jobs")
    options = parser.parse_args()
    with ExitStack() as exits:
        empty, full = (_stack(exits) for _ in range(2))
        print(f"{'submit to first token, ms':34}{'p50':>8}{'p99':>8}{'highest':>9}")
        alone, _ = _measure([_client(full, _CALLER), _client(empty, _CALLER)], options.requests)
        _print("before, idle", alone)
        batches = _fill(full, options.batch)
        ended = {owner: _ended(full, owner, ids) for owner, ids in batches.items()}
        beside, among = _measure([_client(empty, _CALLER), _client(full, _CALLER)], options.requests)
        ended = {owner: _ended(full, owner, ids) - ended[owner] for owner, ids in batches.items()}
        _print("empty queue, beside the other", beside)
        _print(f"{options.batch:,} batch jobs", among)
        ratios = [percentile(among, at) / percentile(beside, at) for at in (0.5, 0.99)]
        print(f"{'ratio':34}{ratios[0]:8.2f}{ratios[1]:8.2f}")
        shares = ", ".join(f"{count} of the {owner} owner" for owner, count in ended.items())
        print(f"batch jobs ended meanwhile: {shares}; Jain's index {jain(list(ended.values())):.3f}")
        print(f"batch jobs running {_running(full)} of {_SLOTS * _WORKERS} slots, waiting {_waiting(full):,}")


def _stack(exits: ExitStack) -> Stack:
    directory = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="spool-")))
    keys = ",".join(f"{owner}={secret}" for owner, secret in _KEYS.items())
    return exits.enter_context(
        running_stack(directory, webs=1, workers=_WORKERS, concurrency=_SLOTS, aof=True, API_KEYS=keys)
    )


def _client(stack: Stack, owner: str) -> httpx.Client:
    return stack.client(headers={"Authorization": f"Bearer {_KEYS[owner]}"})


def _fill(stack: Stack, count: int) -> dict[str, list[str]]:
    """Queue so many batch jobs, and wait until they have their slots. The batches of each owner."""
    batches: dict[str, list[str]] = {}
    most = 5000
    for owner, part in _OWNERS.items():
        left, its = round(count * part), batches.setdefault(owner, [])
        while left > 0:
            bodies = [{"prompt": "batch", "params": _BATCH_PARAMS}] * min(most, left)
            answer = _client(stack, owner).post("/batches", json=bodies, timeout=300).raise_for_status()
            its.append(answer.json()["id"])
            left -= most
    wait_for(lambda: _running(stack) >= _SLOTS * _WORKERS // 2, "batch jobs run")
    # The slots that the first owner had alone were charged to it, so the second one gets the next ones.
    enough = _SLOTS * _WORKERS
    wait_for(
        lambda: all(_ended(stack, owner, its) >= enough for owner, its in batches.items()), "both have had their turns"
    )
    return batches


def _ended(stack: Stack, owner: str, batches: Sequence[str]) -> int:
    client = _client(stack, owner)
    documents = [client.get(f"/batches/{batch}").raise_for_status().json() for batch in batches]
    return sum(document["counts"]["succeeded"] for document in documents)


def _running(stack: Stack) -> int:
    return int(stack.redis.link.call("ZCARD", _RUNNING))


def _waiting(stack: Stack) -> int:
    return int(stack.redis.link.call("ZCARD", "spool:{0}:pending:demo"))


def _measure(clients: Sequence[httpx.Client], count: int) -> list[list[float]]:
    """Milliseconds of so many requests to each, in turns."""
    found: list[list[float]] = [[] for _ in clients]
    for number in range(count + 10):
        for client, its in zip(clients, found, strict=True):
            took_ms = _first_token_ms(client)
            if number >= 10:
                its.append(took_ms)
            time.sleep(_PAUSE_S)
    return found


def _first_token_ms(client: httpx.Client) -> float:
    began = time.perf_counter()
    with client.stream("POST", "/jobs", json=_BODY, headers={"Accept": "text/event-stream"}) as stream:
        for line in stream.iter_lines():
            if line == "event: token":
                return (time.perf_counter() - began) * 1000
    raise RuntimeError("the stream ended without a token")


def _print(name: str, figures: Sequence[float]) -> None:
    print(f"{name:34}{statistics.median(figures):8.1f}{percentile(figures, 0.99):8.1f}{max(figures):9.1f}", flush=True)


if __name__ == "__main__":
    main()
