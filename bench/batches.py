"""``python -m bench.batches``: one large batch, while every process is killed twice and Redis restarts once.

Real processes: Redis with an append-only file, two webs, two workers, the demo model. A file of JSON lines is uploaded
to ``/v1/files`` and becomes a batch of ``/v1/batches``. One reader follows the batch's log and resumes after each loss.
The kills come at random shares of the lines (``--seed``). The same without kills is measured first, on a stack of its
own. Writes the memory of each process over time to ``build/`` or ``--to``, as CSV and SVG. Fails unless each line is in
the log, and once in one of the two files.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.batch_readings import BatchReader, Tally, ids_of
from bench.over_time import Samples, picture
from rig.process import ROOT, wait_for
from rig.stack import Stack, running_stack

_ENDPOINT = "/v1/chat/completions"
_WORDS_BYTES = 1_000_000
_LOOK_S = 0.05
_RESTART_S = 300.0
_READ_S = 600.0
_USED = "redis used_memory"


@dataclass(slots=True)
class Outcome:
    """One run: times in seconds, and the ``custom_id`` of each line of the two result files."""

    tally: Tally
    samples: Samples
    accepted_s: float = 0.0
    ended_s: float = 0.0
    connections: int = 0
    output: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    batch: Mapping[str, Any] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    """When each fault was injected, in seconds since the batch was created."""

    @property
    def in_files(self) -> Counter[str]:
        """How often each line is in the two files together."""
        return self.output + self.errors

    def is_exact(self, lines: int) -> bool:
        """Whether each line is in the log, and once in one of the files."""
        expected = {f"line-{number}" for number in range(lines)}
        once = self.in_files.keys() == expected and self.in_files.total() == lines
        return once and self.tally.missing == 0 and self.tally.end == "done"


def plan(names: Sequence[str], seed: int) -> list[tuple[float, str]]:
    """Each of the names twice and ``redis`` once, at random shares of the lines, in order."""
    chosen = random.Random(seed)
    return sorted((chosen.uniform(0.03, 0.92), name) for name in [*names, *names, "redis"])


def write_lines(path: Path, options: argparse.Namespace) -> None:
    """Write the input file: each line has about ``options.bytes`` bytes of random words."""
    chosen = random.Random(options.seed)
    words = ["".join(chosen.choices("etaoinshrdlucmfw", k=chosen.randint(2, 9))) for _ in range(5000)]
    text = " ".join(chosen.choices(words, k=_WORDS_BYTES // 6))
    params = {"tokens": options.tokens, "rate": 0, "first_token_s": options.first_token_s}
    with path.open("w") as file:
        for number in range(options.lines):
            at = chosen.randrange(len(text) - options.bytes)
            body = {
                "model": "demo",
                "messages": [{"role": "user", "content": text[at : at + options.bytes] or "x"}],
                **params,
            }
            line = {"custom_id": f"line-{number}", "method": "POST", "url": _ENDPOINT, "body": body}
            file.write(json.dumps(line) + "\n")


def run(options: argparse.Namespace, source: Path, *, with_kills: bool) -> Outcome:
    """One batch from upload to end, on a stack of its own."""
    settings = {
        "MAX_BATCH_JOBS": options.lines,
        "MAX_QUEUED": 2 * options.lines + 1000,
        "MAX_FILE_BYTES": source.stat().st_size + 1024,
        "BODY_S": 120,
    }
    with (
        tempfile.TemporaryDirectory(prefix="spool-") as directory,
        running_stack(Path(directory), aof=True, concurrency=options.slots, **settings) as stack,
    ):
        samples = Samples(lambda: _pids(stack), options.every_s)
        samples.take(lambda: _used(stack, 0))
        begun = time.monotonic()
        batch = _create(stack, source)
        created = time.monotonic()
        reader = BatchReader([web.url for web in stack.webs], batch, options.lines)
        reader.start()
        outcome = Outcome(reader.tally, samples, accepted_s=created - begun)
        faults = plan([process.name for process in [*stack.webs, *stack.workers]], options.seed)
        _until_ended(stack, reader, outcome, faults if with_kills else [], options.within_s)
        outcome.ended_s = time.monotonic() - created
        outcome.connections = reader.connections
        samples.take(lambda: _used(stack, reader.tally.lines))
        _read_files(stack, batch, outcome)
        return outcome


def _client(stack: Stack, number: int) -> httpx.Client:
    client = stack.client(number)
    client.timeout = httpx.Timeout(_READ_S)
    return client


def _create(stack: Stack, source: Path) -> str:
    """Upload the file and create the batch; its id."""
    client = _client(stack, 0)
    with source.open("rb") as file:
        uploaded = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("lines.jsonl", file)})
    uploaded.raise_for_status()
    body = {"input_file_id": uploaded.json()["id"], "endpoint": _ENDPOINT, "completion_window": "24h"}
    answer = client.post("/v1/batches", json=body, headers={"Idempotency-Key": "bench"})
    answer.raise_for_status()
    return str(answer.json()["id"])


def _until_ended(
    stack: Stack, reader: BatchReader, outcome: Outcome, faults: list[tuple[float, str]], within_s: float
) -> None:
    """Inject the faults as their shares of the lines are reached, until the reader has the batch's end."""
    begun = time.monotonic()
    while reader.is_alive():
        if time.monotonic() - begun > within_s:
            reader.is_stopped = True
            return
        if faults and reader.tally.lines >= faults[0][0] * reader.tally.total:
            _, name = faults.pop(0)
            outcome.marks[f"{len(outcome.marks) + 1} {name}"] = round(time.monotonic() - begun, 1)
            _inject(stack, name)
        outcome.samples.take(lambda: _used(stack, reader.tally.lines))
        reader.join(_LOOK_S)


def _inject(stack: Stack, name: str) -> None:
    if name == "redis":
        stack.redis.restart(within_s=_RESTART_S)
        return
    process = next(one for one in [*stack.webs, *stack.workers] if one.name == name)
    process.kill()
    process.start()


def _read_files(stack: Stack, batch: str, outcome: Outcome) -> None:
    """Read the batch and both of its files from any web that serves."""
    ready = wait_for(lambda: [number for number, web in enumerate(stack.webs) if web.is_ready()], "a web is ready")
    client = _client(stack, ready[0])
    outcome.batch = client.get(f"/v1/batches/{batch}").json()
    outcome.output = _file(client, outcome.batch.get("output_file_id"))
    outcome.errors = _file(client, outcome.batch.get("error_file_id"))


def _file(client: httpx.Client, file_id: str | None) -> Counter[str]:
    if not file_id:
        return Counter()
    with client.stream("GET", f"/v1/files/{file_id}/content") as answer:
        answer.raise_for_status()
        return ids_of(answer.iter_lines())


def _pids(stack: Stack) -> dict[str, int]:
    processes = [*stack.webs, *stack.workers, stack.redis]
    return {process.name: process.pid for process in processes if process.running}


def _used(stack: Stack, lines: int) -> dict[str, float]:
    used_mb = int(stack.redis.info("memory")["used_memory"]) / 1024 / 1024
    return {_USED: round(used_mb, 1), "lines": lines}


def _rows(options: argparse.Namespace) -> Mapping[str, Callable[[Outcome], object]]:
    return {
        "status": lambda it: it.batch.get("status"),
        "lines in the log": lambda it: it.tally.lines,
        "  succeeded": lambda it: it.tally.statuses["succeeded"],
        "  duplicates": lambda it: it.tally.duplicates,
        "  missing": lambda it: it.tally.missing,
        "  jumps": lambda it: it.tally.jumps,
        "  ids out of order": lambda it: it.tally.out_of_order,
        "lines in the output file": lambda it: it.output.total(),
        "lines in the error file": lambda it: it.errors.total(),
        "  duplicates in both": lambda it: it.in_files.total() - len(it.in_files),
        "each line once": lambda it: "yes" if it.is_exact(options.lines) else "NO",
        "connections of the reader": lambda it: it.connections,
        "faults injected": lambda it: len(it.marks),
        "seconds, upload and create": lambda it: f"{it.accepted_s:.1f}",
        "seconds to the end": lambda it: f"{it.ended_s:.1f}",
        "ms a line": lambda it: f"{it.ended_s / options.lines * 1000:.2f}",
    }


def _print(options: argparse.Namespace, outcomes: Mapping[str, Outcome]) -> None:
    print(f"{'':30}" + "".join(f"{name:>14}" for name in outcomes))
    for title, figure in _rows(options).items():
        print(f"{title:30}" + "".join(f"{figure(outcome)!s:>14}" for outcome in outcomes.values()))
    names = dict.fromkeys(name for one in outcomes.values() for name in one.samples.columns)
    for name in [name for name in names if name not in ("seconds", "lines")]:
        print(
            f"{'MB at most, ' + name:30}" + "".join(f"{one.samples.highest(name):14.1f}" for one in outcomes.values())
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.batches", description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--bytes", type=int, default=100, help="bytes of each prompt; 4000 make 200 MB of 50,000")
    parser.add_argument("--tokens", type=int, default=5, help="tokens of each answer")
    parser.add_argument("--first-token-s", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--slots", type=int, default=50, help="slots of each worker")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every-s", type=float, default=2.0, help="seconds between samples of memory")
    parser.add_argument("--within-s", type=float, default=3600.0, help="the most seconds that a run may take")
    parser.add_argument("--only", choices=("no kills", "kills"), help="measure one of the two alone")
    parser.add_argument("--to", type=Path, default=ROOT / "build", help="where the memory over time is written")
    options = parser.parse_args()
    options.to.mkdir(exist_ok=True)
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="spool-") as directory:
        source = Path(directory) / "lines.jsonl"
        write_lines(source, options)
        print(f"{options.lines:,} lines, {source.stat().st_size / 1e6:.1f} MB, seed {options.seed}", flush=True)
        for name in (options.only,) if options.only else ("no kills", "kills"):
            outcome = outcomes[name] = run(options, source, with_kills=name == "kills")
            stem = options.to / f"bench-batches-{name.replace(' ', '-')}"
            outcome.samples.write(stem.with_suffix(".csv"))
            shown = [column for column in outcome.samples.columns if column not in ("seconds", "lines")]
            title = f"Memory with a batch of {options.lines:,} lines, {name}"
            stem.with_suffix(".svg").write_text(picture(outcome.samples, title, shown, outcome.marks))
    _print(options, outcomes)
    if not all(outcome.is_exact(options.lines) for outcome in outcomes.values()):
        sys.exit("a line is missing or there twice")


if __name__ == "__main__":
    main()
