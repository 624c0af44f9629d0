"""Files that models return: stored for their owner, and linked to in the answer."""

from __future__ import annotations

import random
from collections.abc import Iterator

import gevent
import orjson

from spool.files.records import FileLimits
from spool.files.store import Files
from spool.files.urls import files_at
from spool.jobs.claims import Claims
from spool.models.model import DEMO
from spool.redis.link import RedisLink
from tests.by_hand import OWNER, HandWorker, kinds_of, log_of, record, shards_of, submit, text_of
from worker.appender import Appender
from worker.attempt import Attempt
from worker.attempt_log import AttemptLog
from worker.backends import File, Finish, GenerationRequest, Piece, Text
from worker.ownership import OwnedAttempts
from worker.returned_files import PURPOSE, ReturnedFiles

PICTURE = random.Random(1).randbytes(300_000)


class Draws:
    """A backend that answers with a picture."""

    def generate(self, request: GenerationRequest) -> Iterator[Piece]:  # noqa: ARG002
        yield Text("Look: ")
        yield File("image/png", PICTURE)
        yield Finish("stop")


class Bench:
    """A job that draws, on a real Redis."""

    def __init__(self, link: RedisLink, files: Files | None) -> None:
        self.link, self.files = link, files
        self.job = submit(link)
        worker = HandWorker(link)
        shards = shards_of(link)
        appenders = [Appender(shard, lease_s=10, sleep=gevent.sleep) for shard in shards]
        loops = [gevent.spawn(appender.run) for appender in appenders]
        claim = worker.take(DEMO)
        claims = Claims(shards, worker="w", lease_s=10, max_attempts=1)
        log = AttemptLog(claim, appenders[claim.shard].changed, OwnedAttempts(claims))
        returned = ReturnedFiles(files, ttl_s=100) if files else None
        Attempt(claim, DEMO, Draws(), log, claims, max_output_bytes=1000, files=returned).run()
        gevent.killall(loops)

    @property
    def error(self) -> str:
        """The code of the job's error."""
        code: str = orjson.loads(record(self.link, self.job.id)["error"])["code"]
        return code


def files_of(link: RedisLink, most: int = 0) -> Files:
    """Files in Redis, of ``most`` bytes together."""
    return files_at("", link, FileLimits(total=most), 60)


def test_file_of_an_answer(link: RedisLink) -> None:
    """It is a file of the job's owner, which expires; the text links to it, and an annotation names it."""
    files = files_of(link)
    bench = Bench(link, files)
    (stored,) = files.newest(OWNER, limit=9).files
    assert b"".join(files.read(stored)) == PICTURE
    assert (stored.purpose, stored.filename) == (PURPOSE, f"{bench.job.id}-1.png")
    assert stored.expires_ms - stored.created_ms >= 100_000
    link_to_it = f"/v1/files/{stored.id}/content"
    assert text_of(link, bench.job.id) == f"Look: ![picture]({link_to_it})"
    (marked,) = [entry for entry in log_of(link, bench.job.id) if entry.fields.get("annotations")]
    (annotation,) = marked.fields["annotations"]
    assert annotation["file_path"] == {
        "file_id": stored.id,
        "filename": stored.filename,
        "url": link_to_it,
        "media_type": "image/png",
        "bytes": len(PICTURE),
        "index": 0,
    }
    assert kinds_of(link, bench.job.id) == ["started", "token", "token", "token", "done"]


def test_no_room(link: RedisLink) -> None:
    """Without room for it, the job fails and says so, and nothing is left of it."""
    files = files_of(link, most=100)
    assert Bench(link, files).error == "files_full"
    assert files.newest(OWNER, limit=9).files == []


def test_worker_without_files(link: RedisLink) -> None:
    """A worker that stores no files fails the job."""
    assert Bench(link, None).error == "unsupported_output"
