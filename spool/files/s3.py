"""Contents in a bucket of S3, or of a server that speaks its protocol. ``boto3`` comes with the extra ``s3``.

Region, credentials and endpoint are boto3's own: ``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL_S3``, a profile, or the role
of the machine. Its sockets are gevent's in a web process, so other greenlets run while it waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from spool.errors import ContentLost, ContentsUnavailable, SettingsError
from spool.files.file import BLOCK_BYTES, StoredFile
from spool.files.records import Upload

PART_BYTES = 20 * BLOCK_BYTES
"""The size of each part of an upload but the last: the least that S3 takes, because its signature blocks the hub. S3
takes 10,000 parts."""
_TIMEOUT_S = 20
_MISSING = frozenset({"404", "NoSuchKey", "NoSuchUpload"})


class Bucket:
    """The contents under a prefix of a bucket."""

    name = "s3"

    def __init__(self, bucket: str, prefix: str, client: Any = None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = client or _new_client()

    def write(self, upload: Upload, blocks: Iterator[bytes]) -> None:
        """Store the blocks as the parts of a multipart upload: the object exists once it is complete."""
        place = self._place(upload.id)
        upload_id = self._call("create_multipart_upload", **place, ContentType="application/octet-stream")["UploadId"]
        parts = []
        for number, part in enumerate(_parts(upload, blocks), 1):
            stored = self._call("upload_part", **place, UploadId=upload_id, PartNumber=number, Body=part)
            parts.append({"ETag": stored["ETag"], "PartNumber": number})
        if parts:
            self._call("complete_multipart_upload", **place, UploadId=upload_id, MultipartUpload={"Parts": parts})
        else:
            # An upload without parts cannot be completed.
            self._call("abort_multipart_upload", **place, UploadId=upload_id)

    def read(self, file: StoredFile, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``stop``. Raises ``ContentLost``."""
        if start >= stop:
            return
        try:
            found = self._call("get_object", **self._place(file.id), Range=f"bytes={start}-{stop - 1}")
        except _Missing as exc:
            raise ContentLost(file.id) from exc
        body, left = found["Body"], stop - start
        try:
            with _translated():
                for block in body.iter_chunks(BLOCK_BYTES):
                    left -= len(block)
                    yield block
        finally:
            body.close()
        if left:
            raise ContentLost(file.id)

    def delete(self, file_id: str) -> None:
        """Delete the object, and the parts of uploads that did not end."""
        place = self._place(file_id)
        begun = self._call("list_multipart_uploads", Bucket=self._bucket, Prefix=place["Key"])
        for each in begun.get("Uploads", ()):
            with suppress(_Missing):
                self._call("abort_multipart_upload", **place, UploadId=each["UploadId"])
        self._call("delete_object", **place)

    def _place(self, file_id: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{file_id}"}

    def _call(self, name: str, **args: Any) -> Any:
        with _translated():
            return getattr(self._client, name)(**args)


class _Missing(ContentsUnavailable):
    """There is no such object or upload."""


class _translated:  # noqa: N801 - a context manager
    """Translates the errors of the library."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        if isinstance(exc, ClientError):
            code = str(exc.response.get("Error", {}).get("Code", ""))
            raise (_Missing if code in _MISSING else ContentsUnavailable)(f"SPOOL_FILES_URL: {exc}") from exc
        if isinstance(exc, (BotoCoreError, HTTPClientError)):
            raise ContentsUnavailable(f"SPOOL_FILES_URL: {exc}") from exc


def _parts(upload: Upload, blocks: Iterator[bytes]) -> Iterator[bytes]:
    gathered = bytearray()
    for block in blocks:
        upload.add(len(block))
        gathered += block
        if len(gathered) >= PART_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _new_client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as exc:
        raise SettingsError("SPOOL_FILES_URL=s3://…: install the extra: pip install 'spool-server[s3]'") from exc
    # The retries are the library's own, and bounded.
    return boto3.client(
        "s3", config=Config(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"max_attempts": 3})
    )
