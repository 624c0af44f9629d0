"""The output and the error file of a batch as files. They are the batch's log, and can be read while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from spool.batches.batch import Batch
from spool.errors import BatchNotFound, FileNotFound
from web.openai.batch_output import file_lines
from web.openai.batch_resource import OUTPUT, batch_of_file, file_id_of
from web.openai.file_document import FileDocument
from web.services import State

_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class BatchFile:
    """One of the files of a batch. ``kind`` is OUTPUT or ERRORS."""

    services: State
    batch: Batch
    kind: str

    @property
    def filename(self) -> str:
        """Its name as a download."""
        return f"batch_{'output' if self.kind == OUTPUT else 'error'}_{self.batch.id}.jsonl"

    def content(self) -> Iterator[bytes]:
        """The lines that have ended, in blocks. Raises ``StoreUnavailable``."""
        gathered = bytearray()
        for line in file_lines(self.services, self.batch, self.kind):
            gathered += line
            if len(gathered) >= _BLOCK_BYTES:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

    def document(self) -> FileDocument:
        """The file as OpenAI's object. Its size is counted, so this costs as much as its content."""
        batch = self.batch
        return {
            "id": file_id_of(batch.id, self.kind),
            "object": "file",
            "bytes": sum(map(len, self.content())),
            "created_at": (batch.ended_ms or batch.created_ms) // 1000,
            "expires_at": None,
            "filename": self.filename,
            "purpose": "batch_output",
            "status": "processed",
            "status_details": None,
        }


def batch_file(services: State, file_id: str, owner: str) -> BatchFile | None:
    """The file of a batch with this id; None if it is not the id of one. Raises ``FileNotFound``."""
    found = batch_of_file(file_id)
    if found is None:
        return None
    try:
        return BatchFile(services, services.batches.look(found[0], owner), found[1])
    except BatchNotFound as exc:
        raise FileNotFound(file_id) from exc
