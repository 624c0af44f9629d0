"""The lines of an input file: how much of it is read."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from spool.batches.line import BadLine
from spool.errors import StoreFull
from web.openai.batch_input import lines_of_file


def services(blocks: list[bytes], refuse_when_full: Callable[[], None] = lambda: None) -> Any:
    """Services of a web whose only file has these blocks."""
    file = SimpleNamespace(purpose="batch")
    files = SimpleNamespace(get=lambda *_: file, read=lambda _file: iter(lambda: blocks.pop(0), b""))
    settings = SimpleNamespace(max_batch_jobs=3, max_body_bytes=100, max_prompt_bytes=10)
    return SimpleNamespace(files=files, settings=settings, refuse_when_full=refuse_when_full)


def test_blank_lines_are_bounded() -> None:
    """A file of nothing but line ends is not read to its end."""
    blocks = [b"\n" * 7, b"unread"]
    (found,) = lines_of_file(services(blocks), "alice", "file-1", "/v1/embeddings")
    assert isinstance(found, BadLine)
    assert blocks == [b"unread"]
    assert (found.code, found.message) == ("invalid_request", "The file has more than 6 lines, blank ones included.")


def test_file_is_not_read_while_redis_is_full() -> None:
    """Between two blocks, a Redis above its watermark ends the create, before more is staged."""
    blocks = [b"\n", b"\n", b"unread"]

    def refuse_when_full() -> None:
        if len(blocks) == 1:
            raise StoreFull("full")

    with pytest.raises(StoreFull):
        list(lines_of_file(services(blocks, refuse_when_full), "alice", "file-1", "/v1/embeddings"))
    assert blocks == [b"unread"]
