"""The text of a job whose log is packed: the log alone has it."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterator
from dataclasses import replace

from spool.errors import JobGone
from spool.jobs.job import Job
from spool.jobs.packed_log import open_packed
from spool.jobs.packing import DamagedPack
from spool.keys import job as job_key
from spool.redis.link import RedisLink


def with_packed_text(link: RedisLink, job: Job, tail: bytes, at_most: int) -> Job:
    """The job with the first ``at_most`` bytes of its text (a negative number: all). ``tail``: the last bytes of its
    packed log. Without a readable log the text is empty. Raises ``JobGone`` for a job that was deleted after it was
    looked at, and ``StoreUnavailable``."""
    parts: list[bytes] = []
    size = total = 0
    try:
        packed = open_packed(link, job.id, tail)
        if packed is None:
            raise DamagedPack("index")
        total = packed.index.text_bytes or 0
        for part in packed.text(job.attempt_first):
            parts.append(part)
            size += len(part)
            if 0 <= at_most <= size:
                break
    except DamagedPack:
        # An empty text would be a wrong answer here, and a later turn would go on without it.
        if not link.call("EXISTS", job_key(job.id)):
            raise JobGone(job.id) from None
        return replace(job, text="")
    is_cut = 0 <= at_most < total
    text = b"".join(parts)[:at_most] if is_cut else b"".join(parts)
    # A beginning may end within a character; that character is then part of the rest.
    beginning = getincrementaldecoder("utf-8")("replace").decode(text, final=not is_cut)
    return replace(job, text=beginning, text_bytes=total if is_cut else 0)


def rest_of_packed_text(link: RedisLink, job: Job, start: int) -> Iterator[bytes]:
    """The text from byte ``start``, in pieces that are read lazily. Raises ``JobGone`` if it no longer exists, and
    ``StoreUnavailable``."""
    try:
        packed = open_packed(link, job.id)
        if packed is None or packed.index.text_bytes != job.text_bytes:
            raise JobGone(job.id)
        yield from packed.text(job.attempt_first, start)
    except DamagedPack as exc:
        raise JobGone(job.id) from exc
