"""Pieces of audio, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from worker.backends import File
from worker.backends.openai.audio import MAX_BYTES, Audio, NoAudio, TooMuchAudio, format_of, media_type_of


def test_pieces() -> None:
    """Each piece is base64 by itself; the file has all of them, and is there once."""
    heard = Audio("pcm16")
    assert heard.file() is None
    assert heard.add({"id": "audio_1", "transcript": "Hi"}) == "Hi"
    assert [heard.add({"data": data}) for data in ("AA==", "AQI=", "")] == ["", "", ""]
    assert heard.file() == File("audio/pcm", b"\0\1\2")
    assert heard.file() is None


@pytest.mark.parametrize(
    ("head", "asked", "media_type"),
    [
        (b"RIFF....WAVE", "", "audio/wav"),
        (b"fLaC", "mp3", "audio/flac"),
        (b"OggS", "opus", "audio/ogg"),
        (b"ID3", "", "audio/mpeg"),
        (b"\xff\xfb", "mp3", "audio/mpeg"),
        (b"\xff\xf1", "aac", "audio/aac"),
        (b"\xff\xff", "pcm16", "audio/pcm"),
        (b"", "other", "audio/pcm"),
    ],
)
def test_media_type(head: bytes, asked: str, media_type: str) -> None:
    """The bytes tell it where they can, else the request."""
    assert media_type_of(head, asked) == media_type


@pytest.mark.parametrize("value", ["x", [], {"data": 5}, {"transcript": [1]}, {"data": "A*"}, {"data": "AAA"}])
def test_no_audio(value: Any) -> None:
    """Anything else is named."""
    with pytest.raises(NoAudio):
        Audio("").add(value)


def test_too_much() -> None:
    """All pieces together are bounded, before they are decoded."""
    heard, piece = Audio(""), {"data": "A" * (MAX_BYTES // 3)}
    for _ in range(4):
        heard.add(piece)
    with pytest.raises(TooMuchAudio):
        heard.add({"data": "A" * 8})


@pytest.mark.parametrize(
    ("params", "asked"),
    [
        ({}, ""),
        ({"audio": {"format": "wav"}}, "wav"),
        ({"audio": {}}, ""),
        ({"audio": 5}, ""),
        ({"audio": {"format": 5}}, ""),
    ],
)
def test_format(params: dict[str, Any], asked: str) -> None:
    """The format that the params name."""
    assert format_of(params) == asked
