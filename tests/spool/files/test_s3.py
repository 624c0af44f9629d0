"""Contents in a bucket: what is particular to S3. ``test_store`` holds what all stores promise."""

from __future__ import annotations

from typing import Any

import pytest

from spool.errors import StoreUnavailable
from spool.files.s3 import PART_BYTES, Bucket
from spool.redis.link import RedisLink
from tests.spool.files.stores import broken_off, described, files_of, stored


@pytest.mark.slow
def test_large_file_is_in_parts_and_half_a_one_leaves_none(bucket: tuple[Any, str], link: RedisLink) -> None:
    """A file of several parts is read as it was written; one that breaks off leaves neither an object nor parts."""
    client, name = bucket
    files, content = files_of(Bucket(name, "parts", client), link), bytes(range(256)) * (PART_BYTES // 100)
    file = stored(files, content)
    assert b"".join(files.read(file, PART_BYTES - 10, PART_BYTES + 10)) == content[PART_BYTES - 10 : PART_BYTES + 10]
    with pytest.raises(ConnectionResetError):
        files.create("alice", broken_off(content), described)
    listed = client.list_objects_v2(Bucket=name, Prefix="parts/")["Contents"]
    assert [each["Key"] for each in listed] == [f"parts/{file.id}"]
    assert not client.list_multipart_uploads(Bucket=name, Prefix="parts/").get("Uploads")
    files.delete(file.id, "alice")
    assert not client.list_objects_v2(Bucket=name, Prefix="parts/").get("Contents")


@pytest.mark.slow
def test_bucket_that_does_not_exist(bucket: tuple[Any, str], link: RedisLink) -> None:
    """The error is that of a store which is away, and names the setting."""
    with pytest.raises(StoreUnavailable, match="SPOOL_FILES_URL"):
        stored(files_of(Bucket("no-such-bucket", "", bucket[0]), link))
