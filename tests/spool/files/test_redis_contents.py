"""Contents in Redis."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spool.errors import ContentLost
from spool.files.file import BLOCK_BYTES
from spool.files.records import FileLimits, FileRecords, block_key
from spool.redis.link import RedisLink
from tests.spool.files.stores import contents_of, files_of, stored


def test_text_is_compressed_and_noise_is_not(link: RedisLink) -> None:
    """A block takes less than its size if that helps, and one byte more if it does not."""
    files = files_of(contents_of("redis", link, Path("/")), link)
    stored(files, b'{"custom_id": "line"}\n' * 10_000)
    assert FileRecords(link, FileLimits(), 1).used_bytes() < 5000
    noise = stored(files, os.urandom(BLOCK_BYTES))
    assert link.call("STRLEN", block_key(noise.id, 0)) == BLOCK_BYTES + 1


@pytest.mark.parametrize("damaged", [b"", b"zno zlib", b"pshort"])
def test_damaged_block_is_reported(link: RedisLink, damaged: bytes) -> None:
    """A block that is not what was written raises, instead of wrong bytes."""
    files = files_of(contents_of("redis", link, Path("/")), link)
    file = stored(files, b"x" * 1000)
    link.call("SET", block_key(file.id, 0), damaged)
    with pytest.raises(ContentLost):
        b"".join(files.read(file))
