"""Files that models return: each is stored for the job's owner, and the answer links to it.

The log has no bytes of it. Its text gets a Markdown link, which is in the answer on every surface, and an annotation of
OpenAI's type ``file_path``, which names the file for clients that fetch it.
"""

from __future__ import annotations

import math
import mimetypes
from collections.abc import Iterator
from typing import Any

from spool.errors import FilesFull, OwnerFilesFull, StoreUnavailable, UploadExpired
from spool.files.file import Description, StoredFile
from spool.files.store import Files
from spool.jobs.job import Job
from worker.backends import BackendError, File

PURPOSE = "assistants_output"
"""OpenAI's name for files that a model has made."""
_PIECE_BYTES = 65_536
_AUDIO = {
    "audio/wav": ".wav",
    "audio/mpeg": ".mp3",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
    "audio/aac": ".aac",
    "audio/pcm": ".pcm",
}
"""Extensions by which players know audio; the system's tables have other types for them."""


class ReturnedFiles:
    """Stores files that jobs return. They are kept as long as a job may last, and ``ttl_s`` after that."""

    def __init__(self, files: Files, ttl_s: int) -> None:
        self._files = files
        self._ttl_s = ttl_s

    def store(self, job: Job, file: File, number: int, left_s: float) -> StoredFile:
        """Store the file, the ``number``-th of its answer. Raises ``BackendError``."""
        extension = _AUDIO.get(file.media_type) or mimetypes.guess_extension(file.media_type) or ""
        filename = f"{job.id}-{number}{extension}"
        description = Description(filename, PURPOSE, self._ttl_s + math.ceil(left_s))
        try:
            return self._files.create(job.owner, _pieces(file.data), lambda: description)
        except (FilesFull, OwnerFilesFull) as exc:
            message = f"a file of the answer cannot be kept: {exc}"
            raise BackendError("files_full", message, retryable=True) from exc
        except (StoreUnavailable, UploadExpired) as exc:
            message = "a file of the answer could not be stored"
            raise BackendError("files_unavailable", message, retryable=True, interrupted=True) from exc


def link_of(file: StoredFile, media_type: str) -> str:
    """The Markdown that stands in the answer's text: audio behind its transcript."""
    return f" [audio]({_url(file)})" if media_type.startswith("audio/") else f"![picture]({_url(file)})"


def annotation_of(file: StoredFile, media_type: str) -> dict[str, Any]:
    """The annotation, in the shape of chat completions."""
    named = {"file_id": file.id, "filename": file.filename, "url": _url(file)}
    return {"type": "file_path", "file_path": {**named, "media_type": media_type, "bytes": file.size, "index": 0}}


def _url(file: StoredFile) -> str:
    return f"/v1/files/{file.id}/content"


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), _PIECE_BYTES):
        yield data[at : at + _PIECE_BYTES]
