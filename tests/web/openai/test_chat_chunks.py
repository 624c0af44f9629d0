"""Events of a chat completion's stream."""

from __future__ import annotations

import pytest

from spool.jobs.entries import Kind, encode_text
from web.examples import JOB
from web.openai.chat_chunks import ChatChunks


@pytest.mark.parametrize("wants_usage", [False, True], ids=["plain", "usage"])
def test_text_is_encoded_as_every_other_piece(wants_usage: bool) -> None:
    """The short way to encode text gives the bytes of the usual one."""
    chunks = ChatChunks(JOB, wants_usage=wants_usage)
    for number, text in enumerate(["", " word", 'a"\\\n\u2028🧵']):
        choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
        assert chunks.entries([(number, encode_text(number, Kind.TOKEN, "", text))]) == chunks.chunk(choice)
