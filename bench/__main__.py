"""``python -m bench``: measures Spool beside its peers, on real processes, in one run on one machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import plots, report
from bench.floor_subject import FloorSubject
from bench.kinds import RUNS
from bench.load import compiled
from bench.peers.nchan import Nchan
from bench.peers.resumable_stream import ResumableStream
from bench.peers.sse_starlette import SseStarlette
from bench.profiles import PROFILES
from bench.results import Results, Row, began_at, commit, machine
from bench.spool_subject import SpoolSubject
from bench.subject import Subject, SubjectUnavailable
from bench.workloads import Kind, Workload
from rig.process import ROOT, wait_for
from rig.redis_server import Redis

_BUILD = ROOT / "build"
_FAILED = "failed: "
_SUBJECTS: tuple[type[Subject], ...] = (SpoolSubject, SseStarlette, ResumableStream, Nchan, FloorSubject)


def main() -> None:
    """Run what was asked, print tables, leave JSON and plots in ``build/``."""
    chosen = [subject() for subject in _SUBJECTS]
    options = _options([subject.name for subject in chosen])
    if options.subjects:
        chosen = [subject for subject in chosen if subject.name in options.subjects]
    generator = (
        "load generator: C, one thread" if compiled() else "load generator: PYTHON (no cc): it is part of the figures"
    )
    workloads = _workloads(options)
    if all(workload.spool_only for workload in workloads):
        chosen = [subject for subject in chosen if isinstance(subject, SpoolSubject)]
    lacks = {subject.name: subject.what_it_lacks for subject in chosen}
    results = Results(machine(), generator, f"{began_at()}, commit {commit()}", lacks)
    missing = {subject.name: why for subject in chosen if (why := _installed(subject))}
    for workload in workloads:
        asked = [s for s in chosen if isinstance(s, SpoolSubject)] if workload.spool_only else chosen
        rows = [_row(subject, workload, missing.get(subject.name, "")) for subject in asked]
        if rows:
            results.rows.append((workload, rows))
            # Each time, so that what an hour has found is there if the next minute fails.
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(results.as_json(), indent=1))
    print(report.table(results))
    written = plots.write(results, options.json.parent)
    print("\n" + "\n".join(f"wrote {path}" for path in [options.json, *written]))
    if any(
        row.skipped.startswith(_FAILED) for _, rows in results.rows for row in rows if row.subject == SpoolSubject.name
    ):
        sys.exit("Spool itself failed")


def _options(names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    known = sorted({workload.name for profile in PROFILES.values() for workload in profile})
    parser.add_argument(
        "--profile", choices=sorted(PROFILES), default="short", help="full takes hours, table less than one"
    )
    parser.add_argument("--only", type=_listed(known), help=f"workloads, with commas: {', '.join(known)}")
    parser.add_argument("--subjects", type=_listed(names), help=f"with commas: {', '.join(names)}")
    parser.add_argument("--runs", type=int, help="of every workload, instead of its own number")
    parser.add_argument("--seconds", type=float, help="of every answer or load, instead of each workload's own")
    parser.add_argument("--json", type=Path, default=_BUILD / "bench.json", help="where the figures of every run go")
    return parser.parse_args()


def _listed(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parsed(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(known)}")
        return names

    return parsed


def _workloads(options: argparse.Namespace) -> list[Workload]:
    """Those of the profile; with ``--only`` one that the profile does not have comes from the other."""
    found = {workload.name: workload for workload in PROFILES[options.profile]}
    if options.only:
        everything = {workload.name: workload for workload in PROFILES["full"]} | found
        found = {name: everything[name] for name in options.only}
    return [workload.changed(options.runs, options.seconds) for workload in found.values()]


def _installed(subject: Subject) -> str:
    """Empty, or why it cannot be had here."""
    directory = _BUILD / "peers" / subject.name
    directory.mkdir(parents=True, exist_ok=True)
    try:
        subject.install(directory)
    except SubjectUnavailable as exc:
        return str(exc)
    return ""


def _row(subject: Subject, workload: Workload, missing: str) -> Row:
    """A workload's runs."""
    if not missing and workload.transport not in subject.transports:
        missing = f"has no {workload.transport}"
    if not missing and workload.readers > 1 and workload.kind is Kind.PACED and not subject.shares_streams:
        missing = "a stream has one reader"
    if not missing and not compiled() and workload.needs_compiler:
        missing = "needs the load generator in C, and there is no cc"
    row = Row(subject.name, skipped=missing)
    if missing:
        return row
    for count in workload.groups:
        _run(subject, workload, count, row)
        if row.skipped:
            break
    return row


def _run(subject: Subject, workload: Workload, count: int, row: Row) -> None:
    """So many runs on processes and a Redis that are started for them and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        redis = _started_redis(Path(name)) if subject.needs_redis else None
        try:
            subject.configure(workload)
            subject.start(Path(name), redis.url if redis else "", workload.webs)
            for _ in range(count):
                _say(f"{workload.name}, {subject.name}: run {len(row.runs) + 1} of {workload.runs}")
                row.runs.append(RUNS[workload.kind](subject, redis, workload))
        except SubjectUnavailable as exc:
            row.skipped = str(exc)
        except Exception as exc:  # noqa: BLE001 - the trouble of one must not end the bench
            row.skipped = f"{_FAILED}{type(exc).__name__}: {exc}"
        finally:
            subject.stop()
            if redis:
                redis.close()
                redis.link.close()


def _started_redis(directory: Path) -> Redis:
    """Append-only file, ``everysec``: what Redis does by default once it is on."""
    redis = Redis(directory, aof=True)
    redis.start()
    wait_for(redis.is_ready, "Redis answers")
    return redis


def _say(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if not Path("/proc").exists():
        sys.exit("the bench reads CPU and memory from /proc, so it runs on Linux")
    os.chdir(ROOT)
    main()
