"""The one checker of what must hold whatever happened: of logs, of readers, of a whole stack. Each function answers
the violations in words; nothing is asserted here.

- A job's log ends with exactly one terminal entry, and its ids are contiguous from 1. The one exception: a
  ``restarted`` whose id is a multiple of 100,000 may lie far ahead, where Redis lost history.
- Attempts follow each other: their numbers grow, and the text of the one that counts is the golden text.
- What a reader saw, put together over all its connections, equals the log byte for byte from its cursor on.
- The record says what the log says, and no index still holds a job that has ended.
- Every charge of a flow was settled, once no job is queued or runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from spool import keys
from tests.by_hand import rows_of
from tests.by_hand import text_of as stored_text
from tests.faults.following import Following
from tests.stack import Stack
from worker.backends.demo.backend import answer

PREFIX = "spool:{0}:"
JUMP = 100_000
_JUMPS_AT_LEAST = 500_000
_STATUS = {"done": "succeeded", "failed": "failed", "cancelled": "cancelled"}
_OPENINGS = ("started", "restarted", "continued")
_KINDS = {*_STATUS, *_OPENINGS, "token", "reasoning", "tool_call", "usage", "waiting"}

Log = Sequence[tuple[int, bytes]]
"""Stream ids and entries."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that got its 202: what it was asked, so that its text is known. ``demo`` False: its text is not."""

    id: str
    prompt: str
    params: Mapping[str, Any] = field(default_factory=dict)
    demo: bool = True


def golden(prompt: str, params: Mapping[str, Any]) -> str:
    """The demo's text when nothing goes wrong."""
    limits = [params[name] for name in ("tokens", "fail_after") if params.get(name) is not None]
    endless = params.get("tokens") is not None
    return "".join(islice(answer(prompt, params.get("seed", 0), endless=endless), min(limits) if limits else None))


def read_log(stack: Stack, job: str) -> list[tuple[int, bytes]]:
    """A job's log, from Redis itself."""
    return rows_of(stack.redis.link, job)


def text_of(log: Log) -> str:
    """The text that counts: the tokens from the last ``restarted`` on."""
    parts: list[str] = []
    for _, raw in log:
        entry = json.loads(raw)
        if entry["kind"] == "restarted":
            parts.clear()
        elif entry["kind"] == "token":
            parts.append(entry["text"])
    return "".join(parts)


def check_log(log: Log, *, ended: bool = True) -> list[str]:
    """The shape of one log. ``ended`` False: it may still be running."""
    found: list[str] = []
    last, attempt, terminal = 0, 0, ""
    for at, (stream_id, raw) in enumerate(log):
        entry = json.loads(raw)
        kind = entry["kind"]
        if entry["id"] != stream_id:
            found.append(f"entry {entry['id']} lies under {stream_id}")
        if stream_id != last + 1 and not _is_jump(last, stream_id, kind):
            found.append(f"{kind} {stream_id} follows {last}")
        if kind not in _KINDS:
            found.append(f"entry {stream_id} is of the kind {kind!r}")
        if terminal:
            found.append(f"{kind} {stream_id} comes after {terminal}")
        if kind in _OPENINGS:
            # Where history was lost and the job is only ended, no new attempt begins.
            closing = _is_jump(last, stream_id, kind) and len(log) > at + 1 and _ends(log[at + 1][1])
            if entry["attempt"] < attempt + (not closing):
                found.append(f"{kind} {stream_id} is attempt {entry['attempt']} after attempt {attempt}")
            if (kind == "started") != (stream_id == 1):
                found.append(f"{kind} at {stream_id}")
            attempt = entry["attempt"]
        elif kind in _STATUS:
            terminal = f"{kind} {stream_id}"
        elif not attempt:
            found.append(f"{kind} {stream_id} comes before any attempt")
        last = stream_id
    if ended and not terminal:
        found.append(f"no terminal entry, after {last}")
    return found


def _is_jump(last: int, entry_id: int, kind: str) -> bool:
    return kind == "restarted" and entry_id % JUMP == 0 and entry_id - last >= _JUMPS_AT_LEAST


def _ends(raw: bytes) -> bool:
    return json.loads(raw)["kind"] in _STATUS


def check_text(log: Log, job: Accepted) -> list[str]:
    """The text that counts against the golden one: all of it where the job is done, else its beginning."""
    said, whole = text_of(log), golden(job.prompt, job.params)
    if said == whole:
        return []
    if json.loads(log[-1][1])["kind"] == "done":
        return [f"done with {_difference(said, whole)}"]
    return [] if whole.startswith(said) else [f"not done, with {_difference(said, whole)}"]


def _difference(said: str, whole: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(said, whole, strict=False)) if a != b), min(len(said), len(whole)))
    near = slice(max(0, at - 20), at + 20)
    return f"{len(said)} characters of {len(whole)}; at {at} it says {said[near]!r} for {whole[near]!r}"


def check_reader(following: Following, log: Log, *, lost_history: bool = False) -> list[str]:
    """One reader against the log as it is in the end. A reader that left needs to have the beginning of it only.

    ``lost_history``: Redis lost entries that readers had seen. Those may be missing in the log, if they lie before a
    jump that is announced in it.
    """
    found = [f"met: {error}" for error in following.errors]
    if following.transport == "text":
        due_text = text_of([row for row in log if row[0] > following.after])
        if following.ended and following.text.decode() != due_text:
            found.append(f"read {_difference(following.text.decode(), due_text)}")
        return [f"{one} ({following})" for one in found]
    entries = dict(log)
    seen = list(zip(following.ids, following.raw, strict=True))
    if lost_history:
        superseded = [row for row in seen if row[0] not in entries]
        seen = [row for row in seen if row[0] in entries]
        found += [f"saw {n}, which is not in the log" for n, _ in superseded if not _before_a_jump(n, log)]
    due = [row for row in log if row[0] > following.after]
    if following.left:
        due = due[: len(seen)]
    if [raw for _, raw in seen] != [raw for _, raw in due]:
        found.append(_first_difference(seen, due))
    elif not following.left and not (following.ended or following.after >= (log[-1][0] if log else 0)):
        found.append("did not see the terminal entry")
    if not following.finished:
        found.append("still reads")
    return [f"{one} ({following})" for one in found]


def _before_a_jump(entry_id: int, log: Log) -> bool:
    before = 0
    for stream_id, _ in log:
        if stream_id != before + 1 and before < entry_id < stream_id:
            return True
        before = stream_id
    return False


def _first_difference(seen: Log, due: Log) -> str:
    for (seen_id, seen_raw), (due_id, due_raw) in zip(seen, due, strict=False):
        if seen_id != due_id:
            return f"saw {seen_id} where {due_id} was due"
        if seen_raw != due_raw:
            return f"saw entry {seen_id} as {seen_raw[:200]!r}, which is {due_raw[:200]!r}"
    if len(seen) > len(due):
        return f"saw {len(seen) - len(due)} entries too many, from {seen[len(due)][0]} on"
    return f"missed {len(due) - len(seen)} entries, from {due[len(seen)][0]} on"


def check_record(record: Mapping[str, str], text: str, log: Log, *, lost_history: bool = False) -> list[str]:
    """A job's record and its stored text against its log. ``lost_history``: the text of what was lost is, too."""
    found = []
    end = json.loads(log[-1][1]) if log else {"kind": "nothing"}
    if record.get("status") != _STATUS.get(end["kind"]):
        found.append(f"the status is {record.get('status')}, and the log ends with {end['kind']}")
    if log and record.get("last") != str(log[-1][0]):
        found.append(f"last is {record.get('last')}, and the log ends at {log[-1][0]}")
    if text != text_of(log) and not lost_history:
        found.append(f"the stored text is {_difference(text, text_of(log))}")
    numbers = [json.loads(raw)["attempt"] for _, raw in log if b'"attempt":' in raw[:120]]
    if numbers and record.get("attempt") != str(numbers[-1]):
        found.append(f"attempt is {record.get('attempt')}, and the log's last is {numbers[-1]}")
    return found


def check_job(stack: Stack, job: Accepted, *, lost_history: bool = False) -> tuple[list[tuple[int, bytes]], list[str]]:
    """One accepted job in Redis: its log, and what is wrong with it."""
    log = read_log(stack, job.id)
    raw = stack.redis.link.call("HGETALL", keys.job(job.id))
    record = {raw[i].decode(): raw[i + 1].decode() for i in range(0, len(raw), 2)}
    if not record:
        return log, [f"{job.id}: it was accepted, and is not there"]
    text = stored_text(stack.redis.link, job.id)
    found = check_log(log) + check_record(record, text, log, lost_history=lost_history)
    if log and job.demo:
        found += check_text(log, job)
    return log, [f"{job.id}: {one}" for one in found]


def check_indexes(stack: Stack, ended: Iterable[str]) -> list[str]:
    """No index that orders the work still holds a job that has ended."""
    link, gone, found = stack.redis.link, set(ended), []
    names = [name for part in ("deadlines", "watched", "*:*") for name in link.call("KEYS", f"spool:*:{part}")]
    families = ("deadlines", "watched", "pending", "retries", "flow", "turns", "running", "batch-running", "apart")
    for key in (name for name in names if name.decode().split(":")[2] in families):
        is_set = link.call("TYPE", key) == b"set"
        members = [member.decode() for member in link.call(*(("SMEMBERS", key) if is_set else ("ZRANGE", key, 0, -1)))]
        found += [f"{job} has ended, and is in {key.decode()}" for job in members if job in gone]
    return found


def check_charges(stack: Stack) -> list[str]:
    """What flows are charged and no end has settled; nothing while jobs are queued or run."""
    link = stack.redis.link
    if any(link.call("KEYS", f"spool:*:{part}") for part in ("running:*", "pending:*", "apart")):
        return []
    found = []
    for key in link.call("KEYS", "spool:*:virtual:*"):
        raw = link.call("HGETALL", key)
        charges = {raw[n].decode(): raw[n + 1] for n in range(0, len(raw), 2) if raw[n].startswith(b"+")}
        found += [f"{key.decode()}: {name} is {charge!r}" for name, charge in charges.items() if charge != b"0"]
    return found


def check_stack(
    stack: Stack,
    jobs: Iterable[Accepted],
    followings: Iterable[Following] = (),
    *,
    lost_history: bool = False,
    lost_records: bool = False,
) -> list[str]:
    """Everything, of every accepted job and every reader. All of them should have ended before. ``lost_records``: what
    their jobs were charged stays, since nothing else knows it."""
    found: list[str] = []
    logs: dict[str, list[tuple[int, bytes]]] = {}
    for job in jobs:
        logs[job.id], wrong = check_job(stack, job, lost_history=lost_history)
        found += wrong
    for following in followings:
        if following.job not in logs:
            logs[following.job] = read_log(stack, following.job)
        wrong = check_reader(following, logs[following.job], lost_history=lost_history)
        found += [f"{following.job}: {one}" for one in wrong]
    return found + check_indexes(stack, logs) + ([] if lost_records else check_charges(stack))
