"""Files on each of the stores: the same promises wherever the content is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.errors import (
    ContentElsewhere,
    ContentLost,
    FileNotFound,
    FilesFull,
    OwnerFilesFull,
    StoreUnavailable,
    UploadExpired,
)
from spool.files.contents import Contents
from spool.files.directory import Directory
from spool.files.file import BLOCK_BYTES, Description
from spool.files.records import FileLimits, FileRecords, record_key
from spool.files.redis_contents import RedisContents
from spool.files.s3 import Bucket
from spool.files.store import Files
from spool.keys import HOME, prefix
from spool.redis.link import RedisLink
from tests.spool.files.stores import PLACES, broken_off, contents_of, described, expire, files_of, left, stored

SOME = os.urandom(1000) + b"x" * BLOCK_BYTES + os.urandom(BLOCK_BYTES)


@pytest.fixture(params=[*PLACES, pytest.param("s3", marks=pytest.mark.slow)])
def contents(request: pytest.FixtureRequest, link: RedisLink, tmp_path: Path) -> Contents:
    """One store of contents."""
    if request.param == "s3":
        client, bucket = request.getfixturevalue("bucket")
        return Bucket(bucket, "prefix", client)
    return contents_of(request.param, link, tmp_path / "files")


@pytest.fixture
def files(contents: Contents, link: RedisLink) -> Files:
    """Files in it."""
    return files_of(contents, link)


def nothing_is_left(link: RedisLink, tmp_path: Path) -> bool:
    """Whether neither Redis nor the directory has anything of a file."""
    return not left(link) and not list((tmp_path / "files").glob("*"))


def test_content_is_read_as_it_was_written(files: Files) -> None:
    """All of it, and each range of it, over the borders of blocks."""
    file = stored(files, SOME)
    assert (file.size, file.filename, file.purpose) == (len(SOME), "a.jsonl", "batch")
    assert b"".join(files.read(file)) == SOME
    for start, stop in ((0, 1), (BLOCK_BYTES - 1, BLOCK_BYTES + 1), (5, len(SOME)), (len(SOME) - 1, len(SOME) + 9)):
        assert b"".join(files.read(file, start, stop)) == SOME[start:stop]


def test_empty_file_exists(files: Files) -> None:
    """It has no content, and is a file all the same."""
    file = stored(files, b"")
    assert b"".join(files.read(files.get(file.id, "alice"))) == b""


def test_half_upload_leaves_nothing(files: Files, link: RedisLink, tmp_path: Path) -> None:
    """After an upload that breaks off, or whose description is refused, no key and no file is left."""

    def refused() -> Description:
        raise FileNotFound("")

    with pytest.raises(ConnectionResetError):
        files.create("alice", broken_off(SOME, SOME), described)
    with pytest.raises(FileNotFound):
        files.create("alice", [SOME], refused)
    assert nothing_is_left(link, tmp_path)


def test_upload_of_a_process_that_died_is_swept(files: Files, link: RedisLink, tmp_path: Path) -> None:
    """What a killed process has left goes away with the sweep after its lease, and not before."""

    def pieces() -> Iterator[bytes]:
        yield SOME
        yield SOME
        (upload,) = (key.partition(":")[2] for key in left(link) if key.count(":") == 1 and key.startswith("file:"))
        assert files.sweep() == 0
        expire(link, upload)
        assert files.sweep() == 1
        assert not left(link)
        yield SOME

    with pytest.raises(UploadExpired):
        files.create("alice", pieces(), described)
    assert nothing_is_left(link, tmp_path)


def test_deleted_file_is_gone(files: Files, link: RedisLink, tmp_path: Path) -> None:
    """Its record and its content; a second deletion finds nothing."""
    file = stored(files, SOME)
    files.delete(file.id, "alice")
    assert nothing_is_left(link, tmp_path)
    for call in (files.get, files.delete):
        with pytest.raises(FileNotFound):
            call(file.id, "alice")


def test_expired_file_is_gone_before_it_is_swept(files: Files, link: RedisLink, tmp_path: Path) -> None:
    """No call finds it, whenever the sweep comes, which deletes it."""
    file, other = stored(files, SOME), stored(files)
    expire(link, file.id)
    with pytest.raises(FileNotFound):
        files.get(file.id, "alice")
    assert [each.id for each in files.newest("alice", limit=9).files] == [other.id]
    assert files.sweep() == 1
    files.delete(other.id, "alice")
    assert nothing_is_left(link, tmp_path)


def test_lost_content_is_reported(files: Files, contents: Contents, link: RedisLink) -> None:
    """A file whose content is missing raises instead of being short."""
    file = stored(files, SOME)
    contents.delete(file.id)
    link.call("DEL", f"spool:{{0}}:file:{file.id}:1")
    with pytest.raises(ContentLost):
        b"".join(files.read(file))


def test_limits_count_what_is_stored(contents: Contents, link: RedisLink) -> None:
    """An upload beyond the limit of all files or of the owner's leaves nothing; a deletion makes room."""
    files = files_of(contents, link, FileLimits(total=3000, owner=2000))
    used = FileRecords(link, FileLimits(), 1).used_bytes
    mine = stored(files, os.urandom(1900))
    with pytest.raises(OwnerFilesFull):
        stored(files, os.urandom(200))
    with pytest.raises(FilesFull):
        stored(files, os.urandom(1900), owner="bob")
    assert used() == used("alice")
    assert used("bob") == 0
    files.delete(mine.id, "alice")
    assert used() == 0
    stored(files, os.urandom(1900), owner="bob")


def test_another_owners_file_is_not_there(files: Files) -> None:
    """Neither to read nor to delete; nor is what is no id."""
    file = stored(files)
    for file_id, owner in ((file.id, "bob"), ("file-x", "alice"), (f"{file.id}:0", "alice")):
        for call in (files.get, files.delete):
            with pytest.raises(FileNotFound):
                call(file_id, owner)
    assert files.get(file.id, "alice") == file


def test_file_of_a_store_that_is_not_named_any_more(files: Files, contents: Contents, link: RedisLink) -> None:
    """Its content cannot be read, and it can be deleted."""
    file = stored(files)
    changed = Files(FileRecords(link, FileLimits(), 1), contents_of("redis", link, Path("/")))
    if contents.name == "redis":
        assert b"".join(changed.read(file)) == b"{}\n"
    else:
        with pytest.raises(ContentElsewhere):
            changed.read(file)
    changed.delete(file.id, "alice")
    assert not left(link)


def test_sweep_passes_over_a_store_that_fails(link: RedisLink, tmp_path: Path) -> None:
    """However many of its files are due, those of other stores are deleted; after a minute, its own are due again."""
    contents = Directory(tmp_path / "files")
    files = Files(FileRecords(link, FileLimits(), 60), contents, [RedisContents(link)])
    stuck = [stored(files).id for _ in range(25)]
    lost = stored(files_of(RedisContents(link), link))
    # A directory cannot be unlinked.
    for file_id in stuck:
        (tmp_path / "files" / file_id).unlink()
        (tmp_path / "files" / file_id).mkdir()
    for file_id in (*stuck, lost.id):
        expire(link, file_id)
    assert files.sweep() == 1
    assert set(map(record_key, stuck)) == {key.decode() for key in link.call("KEYS", record_key("file-*"))}
    assert files.sweep() == 0
    (tmp_path / "files" / stuck[0]).rmdir()
    expire(link, stuck[0])
    assert files.sweep() == 1


def test_damaged_records_do_not_stop_a_sweep(files: Files, link: RedisLink) -> None:
    """Records without their fields, or of another type, are deleted like others, and no list fails because of them."""
    ids = [stored(files).id for _ in range(9)]
    for file_id in ids:
        expire(link, file_id)
    for file_id, field in zip(ids, ("status", "owner", "place", "blocks", "stored", "id"), strict=False):
        link.call("HDEL", record_key(file_id), field)
    link.call("DEL", record_key(ids[6]))
    link.call("SET", record_key(ids[7]), "text")
    assert files.newest("alice", limit=9).files == []
    files.sweep()
    assert not link.call("EXISTS", *map(record_key, ids), f"{prefix(HOME)}file-ends")


def test_files_are_deleted_from_a_full_redis(files: Files, link: RedisLink) -> None:
    """A Redis without memory refuses uploads, and still deletes files, which frees it."""
    first, second = stored(files), stored(files)
    expire(link, second.id)
    link.call("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable):
            stored(files)
        files.delete(first.id, "alice")
        assert files.sweep() == 1
    finally:
        link.call("CONFIG", "SET", "maxmemory", 0)
    assert not link.call("EXISTS", record_key(first.id), record_key(second.id))


def test_content_written_behind_a_sweep_is_deleted(link: RedisLink, tmp_path: Path) -> None:
    """An upload whose record a sweep has deleted leaves no content either, even if all of it was written."""
    directory = Directory(tmp_path / "files")
    files = files_of(directory, link)

    def description() -> Description:
        (part,) = (tmp_path / "files").glob("file-*")
        content = part.read_bytes()
        expire(link, part.name)
        assert files.sweep() == 1
        part.write_bytes(content)
        return described()

    with pytest.raises(UploadExpired):
        files.create("alice", [b"{}"], description)
    assert nothing_is_left(link, tmp_path)
