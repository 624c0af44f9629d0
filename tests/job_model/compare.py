"""Whether Redis holds what the ledger says, and whether that is what a log may be at all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import orjson

from spool.jobs.entries import TERMINAL, Entry, Kind
from spool.jobs.job import Status
from spool.jobs.packed_log import PackedLog
from spool.jobs.packing import unpack_block
from spool.models.model import Model
from spool.redis.link import RedisLink
from tests.by_hand import ledger_of
from tests.job_model.ledger import BATCH_JOBS, JUMP, LOST_HISTORY, Ledger, ModelJob

P = "spool:{0}:"
_ENDS = {Status.SUCCEEDED: Kind.DONE, Status.FAILED: Kind.FAILED, Status.CANCELLED: Kind.CANCELLED}
_KEYS = ("", ":input", ":log", ":text", ":gone")
_OPENINGS = (Kind.STARTED, Kind.RESTARTED, Kind.CONTINUED)


def compare(
    link: RedisLink, ledger: Ledger, seen: dict[str, dict[int, bytes]], batch: str, models: Sequence[Model]
) -> None:
    """Raises ``AssertionError`` at the first difference."""
    jobs = [job for job in ledger.jobs.values() if not job.record_broken]
    told = _indexes(ledger, models, batch)
    questions = [_about(job) for job in jobs]
    questions.append([("ZRANGE", P + name, 0, -1) for name in told])
    key = f"{P}batch:{batch}"
    questions.append([("HGETALL", key), *(("LRANGE", key + name, 0, -1) for name in (":jobs", ":ended"))])
    answers = iter(link.pipeline_each([question for part in questions for question in part]))
    *about_jobs, indexes, about_batch = [list(islice(answers, len(part))) for part in questions]
    for job, found in zip(jobs, about_jobs, strict=True):
        if job.forgotten:
            assert found == [0, 0, 0, 0, 1], "a deleted job leaves its tombstone and nothing else"
        else:
            _is_as_told(job, found, seen.setdefault(job.id, {}))
    _indexes_agree(ledger, told, indexes)
    _batch_agrees(ledger, *about_batch)
    # Last, so that a job in another state than the model's is reported by its record.
    _ledger_agrees(link, ledger)


def _about(job: ModelJob) -> list[tuple[Any, ...]]:
    key = f"{P}job:{job.id}"
    if job.forgotten:
        return [("EXISTS", key + name) for name in _KEYS]
    ttls = [("PTTL", key + name) for name in _KEYS]
    log = f"{key}:log"
    return [("HGETALL", key), ("GET", f"{key}:text"), ("XRANGE", log, "-", "+"), ("GET", log), *ttls]


def _is_as_told(job: ModelJob, found: Sequence[Any], seen: dict[int, bytes]) -> None:
    raw, text, rows, packed, *ttls = found
    record = as_record(raw)
    _record_agrees(record, job)
    _expires_with_its_end(job, ttls, bool(text))
    is_packed = record.get("packed") == "1"
    if is_packed and not job.log_broken:
        rows, packed_text = _unpacked(packed, job.text_from)
        # The text of a log that has lost entries stays beside it.
        text = text if packed_text is None else packed_text
    if not (is_packed and job.log_broken):
        assert (text or b"").decode() == job.text, f"{job.id} has the text {text!r} and not {job.text!r}"
    if not job.log_broken:
        entries = _log_agrees(rows, job, seen)
        _is_a_log(job, entries)
        if job.gap_below == 1:
            assert text_of(entries) == job.text
            _attempts_agree(record, job, entries)


def _unpacked(packed: bytes, text_from: int) -> tuple[list[tuple[bytes, tuple[bytes, bytes]]], bytes | None]:
    """The rows of a packed log, as XRANGE gave them before, and the text of the attempt that begins at an entry, if it
    has the whole."""
    log = PackedLog(packed, lambda start, stop: packed[start : stop or None])
    rows = [row for number in range(len(log.index.parts)) for row in unpack_block(log.block(number))]
    text = None if log.index.text_bytes is None else b"".join(log.text(text_from or 1))
    return [(b"%d-0" % entry_id, (b"entry", raw)) for entry_id, raw in rows], text


def as_record(raw: Sequence[bytes]) -> dict[str, str]:
    """A hash as HGETALL gives it."""
    return {raw[n].decode(): raw[n + 1].decode() for n in range(0, len(raw), 2)}


def _record_agrees(record: dict[str, str], job: ModelJob) -> None:
    numbers = ("last", "attempt", "losses", "deaths")
    told: dict[str, Any] = {"status": job.status.value, "cancelling": job.cancelling}
    told.update({name: getattr(job, name) for name in numbers})
    found: dict[str, Any] = {"status": record["status"], "cancelling": "cancel_ms" in record}
    found.update({name: int(record.get(name, 0)) for name in numbers})
    assert found == told, f"{job.id} is {found} and not {told}"
    assert record.get("fence", "") == job.fence, f"{job.id} is held under {record.get('fence')}"
    assert ("ended_ms" in record) == job.ended
    assert ("leased_until_ms" in record) or job.status is not Status.RUNNING


def _expires_with_its_end(job: ModelJob, ttls: Sequence[int], has_text: bool) -> None:
    record, prompt, log, text, gone = ttls
    if job.ended:
        assert min(record, prompt, log) > 0
        assert text > 0 or not has_text
        assert gone > record, "the tombstone goes first"
    else:
        assert set(ttls) <= {-1, -2}, "something expires while the job has not ended"


def _log_agrees(rows: Sequence[Any], job: ModelJob, seen: dict[int, bytes]) -> list[Entry]:
    entries = []
    assert [name for name, _fields in rows] == [b"%d-0" % line.id for line in job.lines]
    for (_name, (_field, raw)), line in zip(rows, job.lines, strict=True):
        entry = Entry.decode(raw)
        entries.append(entry)
        assert (entry.id, entry.kind) == (line.id, line.kind)
        if line.raw is None:
            flat = {**entry.fields, **entry.fields.get("error", {})}
            assert {name: flat[name] for name in line.fields} == line.fields
            line.raw = raw
        assert raw == line.raw, "an entry has changed"
        assert seen.setdefault(line.id, raw) == raw, f"entry {line.id} of {job.id} is not what readers saw"
    return entries


def _is_a_log(job: ModelJob, entries: Sequence[Entry]) -> None:
    """Ids without gaps but for announced jumps, one end and only at the end, attempts one after the other."""
    expected = job.gap_below
    for entry in entries:
        if entry.id != expected:
            assert entry.kind is Kind.RESTARTED, "a gap"
            assert entry.id % JUMP == 0, "a gap"
            assert entry.fields["reason"] == LOST_HISTORY, "a gap"
        expected = entry.id + 1
    ends = [entry.kind for entry in entries if entry.kind in TERMINAL]
    assert ends == ([_ENDS[job.status]] if job.ended else [])
    assert not ends or entries[-1].kind in TERMINAL


def _attempts_agree(record: dict[str, str], job: ModelJob, entries: Sequence[Entry]) -> None:
    begun = [(one["attempt"], one["first"]) for one in orjson.loads(record.get("attempts", "[]"))]
    assert begun == job.begun
    openings = {entry.id: entry for entry in entries if entry.kind in _OPENINGS}
    for attempt, first in begun:
        assert openings[first].fields["attempt"] == attempt
    assert [attempt for attempt, _first in begun] == list(range(1, len(begun) + 1))
    assert int(record.get("attempt_first", 0)) == job.text_from


def text_of(entries: Sequence[Entry]) -> str:
    """The answer as a reader puts it together."""
    parts: list[str] = []
    for entry in entries:
        if entry.kind is Kind.RESTARTED:
            parts.clear()
        elif entry.kind is Kind.TOKEN:
            parts.append(entry.fields["text"])
    return "".join(parts)


def _indexes(ledger: Ledger, models: Sequence[Model], batch: str) -> dict[str, list[str]]:
    """What each index holds; those that order the work, in their order."""
    live = ledger.live()
    kept = [job.id for job in ledger.jobs.values() if job.listed and (job.ended or job.forgotten)]
    kept += [batch] if len(ledger.batch_ended) >= BATCH_JOBS else []
    told = {
        "apart": [job.id for job in ledger.apart()],
        "deadlines": [job.id for job in live if not job.ended],
        "watched": [job.id for job in live if job.watched and not job.ended],
        "owner:alice": [job.id for job in ledger.jobs.values() if job.listed],
        "kept": [f"alice {name}" for name in kept],
    }
    for model in models:
        mine = [job for job in live if job.new.model == model.name]
        told[f"pending:{model.name}"] = [job.id for job in ledger.queued() if job.new.model == model.name]
        told[f"running:{model.name}"] = [job.id for job in mine if job.status is Status.RUNNING]
    return told


def _indexes_agree(ledger: Ledger, told: dict[str, list[str]], found: Sequence[Sequence[bytes]]) -> None:
    broken = {job.id for job in ledger.jobs.values() if job.record_broken}
    for (name, wanted), raw in zip(told.items(), found, strict=True):
        ids = [member for member in map(bytes.decode, raw) if member.split(" ")[-1] not in broken]
        wanted = [member for member in wanted if member.split(" ")[-1] not in broken]
        if name == "apart" or name.startswith("pending:"):
            assert ids == wanted, f"{name}: {ids} and not {wanted}"
        else:
            assert sorted(ids) == sorted(wanted), f"{name}: {ids} and not {wanted}"


def _ledger_agrees(link: RedisLink, ledger: Ledger) -> None:
    """What owners use is the sum over their jobs, and each job counts as what it is."""
    entries = ledger_of(link)
    sums = [entries.pop(name, [0] * 5) for name in ("sum", "sum:alice")]
    figures = {name: entry[:5] for name, entry in entries.items()}
    added = [sum(column) for column in zip(*figures.values(), strict=True)] or [0] * 5
    assert sums == [added, added], "what owners use is not the sum"
    for job in ledger.jobs.values():
        if job.record_broken:
            continue
        assert (job.id in figures) == (not job.forgotten), f"{job.id}: {figures.get(job.id)}"
        if not job.forgotten:
            told = [job.status is Status.QUEUED, job.status is Status.RUNNING]
            assert figures[job.id][:2] == told, f"{job.id} is {job.status} and counts as {figures[job.id]}"


def _batch_agrees(ledger: Ledger, raw: Sequence[bytes], jobs: Sequence[bytes], ended: Sequence[bytes]) -> None:
    record = as_record(raw)
    assert [raw.decode() for raw in jobs] == ledger.batch
    assert sorted(raw.decode() for raw in ended) == sorted(ledger.batch_ended)
    for status in Status:
        told = sum(ledger.jobs[job_id].status is status for job_id in ledger.batch)
        assert int(record.get(status.value, 0)) == told, f"batch: {status}"
