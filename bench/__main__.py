"""``python -m bench``: a first guard on speed. One run prints what was measured, on which machine, as a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.load import Measured, connect, read_streams
from tests.stack import ROOT, Process, Stack, free_port, running_stack, wait_for

PROTOTYPE = "0.3 / 0.5"
"""What a measuring toy without queue, states or recovery reached on two idle cores: p50 / p99 in ms."""
_LEAD_S = 3.0


def main() -> None:
    """Run what was asked and print it."""
    options = _options()
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    }
    with tempfile.TemporaryDirectory(prefix="spool-") as name:
        with running_stack(Path(name), webs=1, workers=1, concurrency=options.jobs + 20, aof=True, LEASE_S=10) as stack:
            results["spool"] = _runs(options, lambda: _spool(stack, options))
            results["idle_stream_kb"] = _idle(stack, options.idle)
        results["floor"] = _runs(options, lambda: _floor(Path(name), options))
    print(json.dumps(results) if options.json else _table(results, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100, help="jobs, one SSE reader each")
    parser.add_argument("--rate", type=float, default=50, help="tokens per second of each job")
    parser.add_argument("--seconds", type=float, default=10, help="length of each answer")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--idle", type=int, default=1000, help="idle streams whose memory is measured")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _runs(options: argparse.Namespace, run: Any) -> list[dict[str, float]]:
    results = []
    for number in range(options.runs):
        print(f"run {number + 1} of {options.runs} …", file=sys.stderr, flush=True)
        results.append(run())
    return results


def _spool(stack: Stack, options: argparse.Namespace) -> dict[str, float]:
    """Jobs × rate, one SSE reader each, through web, broker, worker, Redis (AOF everysec) and back."""
    client = stack.client()
    begun = time.monotonic()
    paths = []
    for _ in range(options.jobs):
        # All begin at about the same time, however long the submits take.
        left_s = _LEAD_S + begun - time.monotonic() + len(paths) / options.jobs / options.rate
        params = {"stamp": True, "tokens": int(options.rate * options.seconds), "rate": options.rate}
        body = {"prompt": "bench", "params": {**params, "first_token_s": max(0.0, left_s)}}
        answer = client.post("/jobs", json=body)
        answer.raise_for_status()
        paths.append(answer.json()["urls"]["stream"])
    parts = {"web": stack.webs[0], "worker": stack.workers[0], "redis": stack.redis}
    before = {name: _cpu_s(part.pid) for name, part in parts.items()}
    measured = read_streams(
        "127.0.0.1", stack.webs[0].port, paths, seconds=options.seconds + _LEAD_S + 20, warmup_s=_LEAD_S + 1
    )
    cpu = {name: (_cpu_s(part.pid) - before[name]) / measured.events * 1e6 for name, part in parts.items()}
    return _figures(measured, options) | {f"{name}_us": value for name, value in cpu.items()}


def _floor(directory: Path, options: argparse.Namespace) -> dict[str, float]:
    port = free_port()
    argv = [sys.executable, "-m", "gunicorn", "-k", "gevent", "--no-control-socket", "--worker-connections", "5000"]
    process = Process("floor", [*argv, "-b", f"127.0.0.1:{port}", "bench.floor:app"], dict(os.environ), directory)
    process.start()
    try:
        wait_for(lambda: _listens(port), "the floor listens")
        query = f"rate={options.rate}&tokens={int(options.rate * options.seconds)}"
        paths = [
            f"/stream?{query}&first_token_s={_LEAD_S + n / options.jobs / options.rate}" for n in range(options.jobs)
        ]
        before = _cpu_s(process.pid)
        seconds = options.seconds + _LEAD_S + 20
        measured = read_streams("127.0.0.1", port, paths, seconds=seconds, warmup_s=_LEAD_S + 1)
        return _figures(measured, options) | {"web_us": (_cpu_s(process.pid) - before) / measured.events * 1e6}
    finally:
        process.stop()


def _figures(measured: Measured, options: argparse.Namespace) -> dict[str, float]:
    expected = options.jobs * int(options.rate * options.seconds)
    return {
        "p50_ms": measured.percentile(0.5),
        "p99_ms": measured.percentile(0.99),
        "max_ms": max(measured.latencies_ms),
        "delivered": measured.events,
        "lost": expected - measured.events,
        "out_of_order": measured.missing_or_doubled,
        "load_us": measured.cpu_s / measured.events * 1e6,
    }


def _idle(stack: Stack, count: int) -> float:
    """KB of proportional memory that one idle SSE stream adds to its web process."""
    client = stack.client()
    job = client.post("/jobs", json={"prompt": "x", "params": {"first_token_s": 3000}}).json()
    path = job["urls"]["stream"]
    port = stack.webs[0].port
    warm = [connect("127.0.0.1", port, path) for _ in range(20)]
    _await_attached(warm)
    before = _pss_kb(stack.webs[0].pid)
    sockets = [connect("127.0.0.1", port, path) for _ in range(count)]
    _await_attached(sockets)
    used = _pss_kb(stack.webs[0].pid) - before
    for sock in [*warm, *sockets]:
        sock.close()
    client.post(f"/jobs/{job['id']}/cancel")
    return used / count


def _await_attached(sockets: list[Any]) -> None:
    for sock in sockets:
        seen = b""
        while b"attached" not in seen:
            seen += sock.recv(4096)


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(int(child) for child in children)]


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children so far."""
    ticks = 0
    for member in _family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _pss_kb(pid: int) -> int:
    total = 0
    for member in _family(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def _listens(port: int) -> bool:
    try:
        connect("127.0.0.1", port, "/").close()
    except OSError:
        return False
    return True


def _median(runs: list[dict[str, float]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def _table(results: dict[str, Any], options: argparse.Namespace) -> str:
    spool, floor = results["spool"], results["floor"]
    lines = [
        f"{options.jobs} jobs x {options.rate:g} tokens/s, one SSE reader each, {options.runs} runs (medians); "
        f"{results['machine']}",
        "latency from the time a token was due to its read",
        "",
        f"{'':22}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'lost':>6}{'web':>7}{'worker':>8}{'redis':>7}{'load':>6}",
    ]
    for name, runs in (("Spool", spool), ("floor (bare Flask)", floor)):
        cells = [f"{_median(runs, key):9.2f}" for key in ("p50_ms", "p99_ms", "max_ms")]
        cells.append(f"{sum(run['lost'] + run['out_of_order'] for run in runs):6.0f}")
        keys = (("web_us", 7), ("worker_us", 8), ("redis_us", 7), ("load_us", 6))
        cells += [f"{_median(runs, key):{width}.0f}" if key in runs[0] else f"{'-':>{width}}" for key, width in keys]
        lines.append(f"{name:22}{''.join(cells)}   us of CPU a token")
    spread = ", ".join(f"{run['p50_ms']:.2f}/{run['p99_ms']:.2f}" for run in spool)
    ratio = _median(spool, "p50_ms") / _median(floor, "p50_ms"), _median(spool, "p99_ms") / _median(floor, "p99_ms")
    lines += [
        "",
        f"Spool's runs, p50/p99: {spread}",
        f"ratio to the floor: p50 {ratio[0]:.1f}, p99 {ratio[1]:.1f}; the prototype on idle cores: {PROTOTYPE} ms",
        f"an idle SSE stream: {results['idle_stream_kb']:.1f} KB (PSS, of {options.idle} on one job)",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if not Path("/proc").exists():
        sys.exit("the bench reads CPU and memory from /proc, so it runs on Linux")
    os.chdir(ROOT)
    main()
