"""OpenAI's File object."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from spool.files.file import StoredFile


class FileDocument(TypedDict):
    """A file. Times are in seconds since the epoch."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: None


def document(file: StoredFile) -> FileDocument:
    """The file as OpenAI's object."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_ms // 1000,
        "expires_at": file.expires_ms // 1000,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }
