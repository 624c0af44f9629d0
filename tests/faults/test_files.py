"""Uploads under faults: a web that is killed, clients that stall, large files, and Redis that restarts."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.faults.vitals import rss_mb
from tests.stack import Stack, running_stack, wait_for

MB = 1024 * 1024
PIECE = hashlib.sha256(b"spool").digest() * 2048
HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
)
END = b"\r\n--b--\r\n"
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def url_of(place: str, directory: Path) -> str:
    """The SPOOL_FILES_URL of this store."""
    return f"file://{directory}/files" if place == "file" else ""


def keys(stack: Stack) -> list[bytes]:
    """The keys of files in Redis, apart from their sum."""
    found: list[bytes] = stack.redis.link.call("KEYS", "spool:{0}:file*")
    return [key for key in found if not key.endswith(b"file-bytes")]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["redis", "file"])
def test_web_killed_during_an_upload(directory: Path, place: str) -> None:
    """Another web deletes what it has stored, once the upload has been silent for its lease."""
    with running_stack(directory, webs=2, workers=0, BODY_S=1, FILES_URL=url_of(place, directory)) as stack:
        begun, killed = threading.Event(), threading.Event()

        def pieces() -> Iterator[bytes]:
            yield HEAD
            for _ in range(20):
                yield PIECE
            begun.set()
            killed.wait(60)
            yield PIECE

        def upload() -> None:
            with pytest.raises(httpx.TransportError):
                httpx.post(f"{stack.webs[0].url}/v1/files", content=pieces(), headers=FORM, timeout=60)

        uploading = threading.Thread(target=upload)
        uploading.start()
        begun.wait(60)
        wait_for(lambda: keys(stack), "the upload is stored in part")
        stack.webs[0].kill()
        assert keys(stack)
        killed.set()
        uploading.join()
        wait_for(lambda: not keys(stack), "nothing of it is left")
        assert not list((directory / "files").glob("*"))
        assert stack.client(1).get("/v1/files").json()["data"] == []


@pytest.mark.slow
@pytest.mark.parametrize("place", ["redis", "file"])
def test_large_file_in_flat_memory(directory: Path, place: str) -> None:
    """200 MB go up and down unchanged while the web grows by less than 16 MB."""
    count = 200 * MB // len(PIECE)

    def pieces() -> Iterator[bytes]:
        yield HEAD
        for _ in range(count):
            yield PIECE
        yield END

    with running_stack(directory, webs=1, workers=0, FILES_URL=url_of(place, directory)) as stack:
        with httpx.Client(base_url=stack.webs[0].url, timeout=120) as client:
            before, peak = rss_mb(stack.webs[0]), [0.0]
            over = threading.Event()

            def watch() -> None:
                while not over.wait(0.05):
                    peak[0] = max(peak[0], rss_mb(stack.webs[0]))

            watching = threading.Thread(target=watch)
            watching.start()
            file = client.post("/v1/files", content=pieces(), headers=FORM).json()
            expected, found = hashlib.sha256(), hashlib.sha256()
            for _ in range(count):
                expected.update(PIECE)
            with client.stream("GET", f"/v1/files/{file['id']}/content") as response:
                for piece in response.iter_bytes():
                    found.update(piece)
            over.set()
            watching.join()
        assert found.digest() == expected.digest()
        assert peak[0] - before < 16


@pytest.mark.slow
def test_upload_that_stalls(directory: Path) -> None:
    """A client that sends a part of a file and then nothing gets 408, and nothing of its file is left."""
    with running_stack(directory, webs=1, workers=0, BODY_S=1) as stack:
        over = threading.Event()

        def pieces() -> Iterator[bytes]:
            yield HEAD
            for _ in range(20):
                yield PIECE
            over.wait(20)
            yield END

        try:
            response = httpx.post(f"{stack.webs[0].url}/v1/files", content=pieces(), headers=FORM, timeout=60)
            assert response.status_code == 408
        except httpx.TransportError:
            # The server closed the connection before the client read its answer.
            assert "Traceback" not in stack.webs[0].output.read_text()
        over.set()
        wait_for(lambda: not keys(stack), "nothing of it is left")


@pytest.mark.slow
def test_files_survive_a_restart_of_redis(directory: Path) -> None:
    """After a kill of Redis with its file on, a complete file is read as before, and expiry still works."""
    with running_stack(directory, webs=1, workers=0, aof=True) as stack, stack.client() as client:
        file = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a", PIECE * 20)}).json()
        stack.redis.restart(kill=True)
        wait_for(lambda: client.get(f"/v1/files/{file['id']}").status_code == 200, "the file is there again")
        assert client.get(f"/v1/files/{file['id']}/content").content == PIECE * 20
        stack.redis.link.call("ZADD", "spool:{0}:file-ends", 1, file["id"])
        wait_for(lambda: not keys(stack), "the expired file is swept")
