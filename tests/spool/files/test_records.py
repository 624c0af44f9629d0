"""The records of files: pages of them, repeated calls, and the number that an owner may have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spool.errors import OwnerFilesFull
from spool.files import records
from spool.files.file import StoredFile
from spool.files.records import FileLimits, FileRecords, record_key
from spool.files.store import Files
from spool.keys import HOME
from spool.redis.link import RedisLink
from tests.spool.files.stores import contents_of, described, files_of, left, stored


@pytest.fixture
def files(link: RedisLink) -> Files:
    """Files in Redis."""
    return files_of(contents_of("redis", link, Path("/")), link)


def test_pages_lead_through_all_files(files: Files) -> None:
    """In both orders, each file is on one page, also behind a file that was deleted in between."""
    ids = [stored(files).id for _ in range(5)]
    stored(files, owner="bob")
    for oldest_first, expected in ((False, sorted(ids, reverse=True)), (True, sorted(ids))):
        seen: list[str] = []
        page = files.newest("alice", limit=2, oldest_first=oldest_first)
        while page.has_more:
            seen += [file.id for file in page.files]
            page = files.newest("alice", limit=2, after=seen[-1], oldest_first=oldest_first)
        assert seen + [file.id for file in page.files] == expected
    files.delete(max(ids), "alice")
    assert len(files.newest("alice", limit=9, after=max(ids)).files) == 4


def test_list_reads_no_more_than_it_shows(files: Files, link: RedisLink) -> None:
    """Of many files, a short page reads those that it shows, and one more to know whether there are others."""
    for _ in range(10):
        stored(files)
    link.call("CONFIG", "RESETSTAT")
    assert len(files.newest("alice", limit=3).files) == 3
    read = re.search(r"cmdstat_hgetall:calls=(\d+)", link.call("INFO", "commandstats").decode())
    assert read is not None
    assert int(read[1]) == 4


def test_list_of_one_purpose(files: Files, link: RedisLink) -> None:
    """Files of other purposes, and damaged records, are left out."""
    wanted = [stored(files, purpose="batch") for _ in range(2)]
    stored(files, purpose="user_data")
    link.call("HSET", record_key(stored(files, purpose="batch").id), "bytes", "many")
    page = files.newest("alice", limit=9, purpose="batch")
    assert {file.id for file in page.files} == {file.id for file in wanted}


def test_owner_has_a_bounded_number_of_files(link: RedisLink) -> None:
    """At the limit, an upload is refused before any of it is stored."""
    args = ("file-x", "alice", "redis", 0, 1000)
    assert link.run(records._BEGIN, HOME, *args) == b"owner_full"
    assert not left(link)


def test_repeated_calls_change_nothing(link: RedisLink) -> None:
    """A block, an end and a deletion that are sent again, because their answers were lost, count once."""
    kept = FileRecords(link, FileLimits(), 60)
    upload = kept.begin("alice", "redis")
    for number in (0, 0, 1):
        link.run(records._ADD, HOME, upload.id, number, 10, 0, 0, 1000, "x" * 10)
    assert kept.used_bytes() == kept.used_bytes("alice") == 20
    upload.complete(20, described())
    first = kept.get(upload.id, "alice")
    upload.complete(20, described())
    assert isinstance(first, StoredFile)
    assert kept.get(upload.id, "alice") == first
    assert kept.hide(upload.id, "alice") == "redis"
    assert kept.hide(upload.id, "alice") is None
    kept.forget(upload.id)
    kept.forget(upload.id)
    assert kept.used_bytes() == 0
    assert not left(link)


def test_owners_limit_has_its_own_error(link: RedisLink) -> None:
    """The owner's limit is not mistaken for that of all files."""
    upload = FileRecords(link, FileLimits(total=100, owner=10), 60).begin("alice", "redis")
    with pytest.raises(OwnerFilesFull):
        upload.add(11)
