"""``python -m bench.instructions``: how many instructions a job costs Redis, by script.

A private server with an append-only file runs under callgrind, which counts its instructions: the count depends neither
on the load of the machine nor on its speed, to within a percent. The scripts are called as webs and workers call them.
``--profile claim`` prints the functions of the server in which the calls of one phase spend most. On a busy machine a
call takes longer, so more of the server's regular work counts; ``--within evalGenericCommand`` counts scripts alone,
without protocol and file.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson

from spool.deadline import Deadline
from spool.ids import new_job_id
from spool.jobs.claims import Claim, Claims, new_fence
from spool.jobs.entries import Entry, Kind
from spool.jobs.job import NewJob
from spool.jobs.owner_limits import OwnerLimits
from spool.jobs.scripts import script
from spool.jobs.shards import Shards
from spool.jobs.store import JobStore
from spool.models.model import DEMO
from spool.redis.link import RedisLink
from spool.run.server_binary import find_server

_LEASE_S = 10.0
_STARTS_WITHIN_S = 60.0
_MAX_QUEUED = 10_000
_AT = "2026-11-30T09:30:00.123Z"
_ENDING = orjson.dumps(
    {"status": "succeeded", "usage": {"input_tokens": 2, "output_tokens": 2}, "finish_reason": "stop"}
)
_WARM_UP = 30
_SHOWN = 40
_COST = re.compile(r"\d+ (\d+)")
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)$", re.MULTILINE)


class Server:
    """A server under callgrind, which counts its instructions."""

    def __init__(self, directory: Path, within: str = "") -> None:
        """``within``: the function of the server that is counted; empty: all."""
        self._directory = directory
        self._dumps = 0
        socket = directory / "redis.sock"
        binary = find_server(directory / "none")
        options = {"port": "0", "unixsocket": str(socket), "dir": str(directory), "appendonly": "yes", "save": ""}
        self._process = subprocess.Popen(
            [
                *(
                    "valgrind",
                    "--tool=callgrind",
                    "--compress-strings=no",
                    "--compress-pos=no",
                    f"--callgrind-out-file={directory}/counts",
                    *([f"--toggle-collect={within}"] if within else []),
                ),
                str(binary.path),
                *(part for name, value in options.items() for part in (f"--{name}", value)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = Deadline.after(_STARTS_WITHIN_S)
        while not socket.exists():
            if deadline.passed or self._process.poll() is not None:
                raise SystemExit("the server did not start under valgrind")
            time.sleep(0.1)
        self.link = RedisLink(f"unix://{socket}", timeout_s=_STARTS_WITHIN_S)

    def count(self, calls: Callable[[], object]) -> tuple[int, Path]:
        """The server's instructions during these calls, and callgrind's file of them."""
        self._control("--dump")
        calls()
        self._control("--dump")
        self._dumps += 2
        found = self._directory / f"counts.{self._dumps}"
        total = _TOTAL.search(found.read_text(encoding="utf-8"))
        assert total is not None
        return int(total[1]), found

    def _control(self, *options: str) -> None:
        command = ["callgrind_control", *options, str(self._process.pid)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self) -> None:
        """End it."""
        self.link.close()
        self._process.kill()
        self._process.wait()


class Calls:
    """A web and a worker that do so many of each step of a job."""

    def __init__(self, link: RedisLink, count: int) -> None:
        self._shards = Shards.on(link, first=0)
        self._store = JobStore(self._shards)
        self._claims = Claims(self._shards, worker="worker", lease_s=_LEASE_S, max_attempts=3, slots=2 * count)
        self._limits = OwnerLimits(queued=5000, share=0.75, watermark=0.9)
        self._held: list[Claim] = []
        self._count = count
        self._store.publish_limits(self._limits)
        self._claims.heartbeat((), free=2 * count, server="")

    def phases(self) -> Mapping[str, Callable[[], None]]:
        """The steps by name, in their order."""
        return {
            "submit": lambda: self._each(self._submit),
            "claim": lambda: self._each(self._claim),
            "append of a token": lambda: self._each(self._append),
            "end of a job": self._end,
            "a claim that finds no job": lambda: self._each(self._find_none),
            "heartbeat": lambda: self._each(self._beat),
        }

    def _each(self, step: Callable[[], None]) -> None:
        for _ in range(self._count):
            step()

    def _submit(self) -> None:
        said = {"messages": [{"role": "user", "content": "hello"}], "params": {}}
        new = NewJob(id=new_job_id(0), owner="alice", model=DEMO.name, input=said)
        self._store.submit(new, max_queued=_MAX_QUEUED, limits=self._limits)

    def _take(self) -> Claim | None:
        return self._claims.claim(self._shards.in_turn()[0], [DEMO], new_fence())

    def _claim(self) -> None:
        claim = self._take()
        assert claim is not None
        self._held.append(claim)

    def _find_none(self) -> None:
        assert self._take() is None

    def _append(self) -> None:
        claim = self._held.pop(0)
        self._held.append(claim)
        self._commit(claim, claim.first, Entry(claim.first, Kind.TOKEN, _AT, {"text": "token"}).encode(), "token")

    def _end(self) -> None:
        for claim in self._held:
            last = claim.first + 1
            self._commit(claim, last, Entry(last, Kind.DONE, _AT, {"finish_reason": "stop"}).encode(), "", _ENDING)
        self._held.clear()

    def _commit(self, claim: Claim, entry_id: int, entry: bytes, text: str, ending: bytes = b"") -> None:
        text_at = 0 if text else len("token")
        args = (claim.job.id, claim.fence, entry_id, 1, ending, 1, text_at, text, entry)
        (answer,) = self._shards.of_job(claim.job.id).run(script("append"), round(_LEASE_S * 1000), *args)
        assert answer == entry_id, answer

    def _beat(self) -> None:
        self._claims.heartbeat((), free=1, server="")


def _functions(found: Path, calls: int) -> str:
    """The functions of the server that cost most, in thousands of instructions of their own for each call."""
    costs: Counter[str] = Counter()
    function, is_of_callee = "", False
    for line in found.read_text(encoding="utf-8").splitlines():
        if line.startswith("fn="):
            function = line[3:]
        elif line.startswith("calls="):
            # The next line has what the called function cost.
            is_of_callee = True
        elif cost := _COST.fullmatch(line):
            if not is_of_callee:
                costs[function] += int(cost[1])
            is_of_callee = False
    return "\n".join(f"{cost / calls / 1000:12.1f}  {name}" for name, cost in costs.most_common(_SHOWN))


@contextmanager
def _server(within: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="spool-") as directory:
        server = Server(Path(directory), within)
        try:
            yield server
        finally:
            server.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.instructions", description=__doc__)
    parser.add_argument("--calls", type=int, default=150)
    parser.add_argument("--profile", help="print the functions of this phase")
    parser.add_argument("--within", default="", help="count only within this function of the server")
    options = parser.parse_args()
    with _server(options.within) as server:
        warm_up = Calls(server.link, _WARM_UP)
        for phase in warm_up.phases().values():
            phase()
        calls, total = Calls(server.link, options.calls), 0.0
        for name, phase in calls.phases().items():
            count, found = server.count(phase)
            thousands = count / options.calls / 1000
            if name not in ("append of a token", "heartbeat"):
                total += thousands
            print(f"{name:28}{thousands:8.0f}", flush=True)
            if name == options.profile:
                print(_functions(found, options.calls))
        print(f"{'sum of a job':28}{total:8.0f}")


if __name__ == "__main__":
    main()
