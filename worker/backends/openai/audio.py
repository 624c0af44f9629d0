"""The audio in a chat's answer: its transcript is text, and its sound one file.

It comes as OpenAI has it: ``audio``, an object with ``transcript`` and ``data`` in base64, whole in a message or in
pieces in the deltas of a stream. Each piece of ``data`` is base64 by itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from worker.backends import File

MAX_BYTES = 24 * 1024 * 1024
"""Limit for the audio of one answer: 8 minutes of OpenAI's ``pcm16``."""
STREAMED_FORMAT = "pcm16"
"""The only format of audio that OpenAI streams."""
_HEADS = {b"RIFF": "audio/wav", b"fLaC": "audio/flac", b"OggS": "audio/ogg", b"ID3": "audio/mpeg"}
_FORMATS = {"mp3": "audio/mpeg", "aac": "audio/aac", "wav": "audio/wav", "flac": "audio/flac", "opus": "audio/ogg"}
"""The formats that a request can ask for, besides samples without a head."""


class NoAudio(ValueError):
    """The value is no piece of audio."""


class TooMuchAudio(Exception):
    """The audio is longer than ``MAX_BYTES``."""


class Audio:
    """The audio of one answer, as far as it has arrived. ``asked`` is the format that the request asks for."""

    __slots__ = ("_asked", "_data")

    def __init__(self, asked: str) -> None:
        self._asked = asked
        self._data = bytearray()

    def add(self, value: Any) -> str:
        """Add a piece. Returns its transcript, which may be empty. Raises ``NoAudio`` and ``TooMuchAudio``."""
        if not isinstance(value, dict):
            raise NoAudio(f"{type(value).__name__} instead of audio")
        data, transcript = value.get("data") or "", value.get("transcript") or ""
        if not isinstance(data, str) or not isinstance(transcript, str):
            raise NoAudio("audio whose data or transcript is no text")
        if len(self._data) + len(data) * 3 // 4 > MAX_BYTES:
            raise TooMuchAudio(f"the audio has more than {MAX_BYTES} bytes")
        try:
            self._data += base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise NoAudio("audio whose base64 is invalid") from exc
        return transcript

    def file(self) -> File | None:
        """The sound, of which nothing is left here; None if there is none."""
        if not self._data:
            return None
        data, self._data = bytes(self._data), bytearray()
        return File(media_type_of(data, self._asked), data)


def media_type_of(data: bytes, asked: str) -> str:
    """The type that the head of the bytes tells, else that of the format. OpenAI's ``pcm16`` is ``audio/pcm``."""
    told = next((media_type for head, media_type in _HEADS.items() if data.startswith(head)), None)
    return told or _FORMATS.get(asked, "audio/pcm")


def format_of(params: Mapping[str, Any]) -> str:
    """The format of audio that the params ask for; empty if they name none."""
    audio = params.get("audio")
    asked = audio.get("format") if isinstance(audio, dict) else None
    return asked if isinstance(asked, str) else ""
