"""A program in Node that follows a job with the JavaScript client, while a test disturbs it."""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.stack import wait_for

HERE = Path(__file__).parent
_MAJOR = 20


def node() -> list[str]:
    """How to start Node. Skips the test where there is none, or one that is too old."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("there is no node on PATH")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < _MAJOR:
        pytest.skip(f"node is {version.strip()}; the client needs {_MAJOR} or newer")
    # A WebSocket is there without asking since Node 22.
    return [found, "--experimental-websocket", "--no-warnings"]


class NodeReader:
    """Follows ``job`` at ``url``. ``options`` are those of ``follow()``, the rest those of the client."""

    def __init__(self, url: str, job: str, *, timing: dict[str, Any] | None = None, token: str = "", **options: Any):
        given = {"url": url, "job": job, "options": options, "timing": timing or {}, "token": token or None}
        self.changes: list[dict[str, Any]] = []
        self._end: dict[str, Any] | None = None
        self._process = subprocess.Popen(
            [*node(), str(HERE / "follow.mjs"), orjson.dumps(given).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def tell(self, word: str) -> None:
        """Call ``start`` or ``stop`` of what follows."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    def until(self, within_s: float = 30.0, **expected: Any) -> None:
        """Until the last change shows these values."""
        wait_for(lambda: self.changes and expected.items() <= self.changes[-1].items(), f"{expected}", within_s)

    def until_entry(self, number: int, within_s: float = 30.0) -> int:
        """Until so many entries have been read; how many there are."""
        wait_for(lambda: self.last_entry >= number, f"{number} entries were read", within_s)
        return self.last_entry

    @property
    def last_entry(self) -> int:
        """The reader's cursor, as it last showed it."""
        return int(self.changes[-1]["lastEntry"]) if self.changes else 0

    def end(self, within_s: float = 60.0) -> dict[str, Any]:
        """What it saw, once it has ended."""
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            last = self.changes[-1:]
            raise AssertionError(f"still reading after {within_s:g} s: {last}") from None
        self._thread.join(10)
        assert self._process.stderr is not None
        assert self._end is not None, self._process.stderr.read().decode(errors="replace")
        return self._end

    def whole(self, job: dict[str, Any], within_s: float = 60.0) -> dict[str, Any]:
        """What it saw, checked against the ended job: the same text, every entry once and in order."""
        end = self.end(within_s)
        assert end["text"] == end["view"]["text"] == job["text"]
        assert end["view"]["status"] == job["status"]
        assert end["view"]["lastEntry"] == job["last_entry"]
        assert end["ids"] == sorted(set(end["ids"])), "an entry came twice"
        if "snapshot" not in end["kinds"]:
            assert end["ids"] == list(range(1, job["last_entry"] + 1)), "an entry is missing"
        return end

    def close(self) -> None:
        """Gone, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        self._thread.join(10)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            document = orjson.loads(line)
            if "end" in document:
                self._end = document["end"]
            else:
                self.changes.append(document)
