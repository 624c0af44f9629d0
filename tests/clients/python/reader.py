"""A reader of either client in a thread, while a test disturbs it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from spool_client import AsyncClient, AsyncFollow, Client, Entry, Follow, SpoolError
from spool_client.documents import Document
from tests.stack import wait_for


class PythonReader:
    """Follows ``job`` at ``url`` with ``Client`` or ``AsyncClient``. ``options`` are the client's."""

    def __init__(self, kind: str, url: str, job: str, **options: Any) -> None:
        self.documents: list[Document] = []
        self.error: SpoolError | None = None
        self.states: list[tuple[str, str]] = []
        self.first_text_s: float | None = None
        self.follow: Follow | AsyncFollow | None = None
        self._url, self._job, self._options = url, job, options
        self._began = time.monotonic()
        run: Callable[[], None] = self._run if kind == "sync" else lambda: asyncio.run(self._run_async())
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def last_entry(self) -> int:
        """The reader's cursor."""
        return self.follow.last_entry if self.follow is not None else 0

    def until_entry(self, number: int, within_s: float = 30.0) -> int:
        """Until so many entries have been read; how many there are."""
        wait_for(lambda: self.last_entry >= number, f"{number} entries were read", within_s)
        return self.last_entry

    def end(self, within_s: float = 60.0) -> Follow | AsyncFollow:
        """What it knows, once it has ended."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), f"still reading: {self.states[-3:]}"
        assert self.follow is not None
        return self.follow

    def whole(self, job: dict[str, Any], within_s: float = 60.0) -> Follow | AsyncFollow:
        """The end, checked against the ended job: the same text, every entry once and in order."""
        follow = self.end(within_s)
        assert self.error is None
        assert follow.text == job["text"]
        assert (follow.status, follow.last_entry) == (job["status"], job["last_entry"])
        ids = [document.id for document in self.documents if isinstance(document, Entry)]
        assert ids == sorted(set(ids)), "an entry came twice"
        if not any(document.kind == "" for document in self.documents):
            assert ids == list(range(1, job["last_entry"] + 1)), "an entry is missing"
        return follow

    def _run(self) -> None:
        with Client(self._url, **self._options) as client:
            self.follow = client.follow(self._job, on_change=self._changed)
            try:
                for document in self.follow:
                    self._take(document)
            except SpoolError as error:
                self.error = error

    async def _run_async(self) -> None:
        async with AsyncClient(self._url, **self._options) as client:
            self.follow = client.follow(self._job, on_change=self._changed)
            try:
                async for document in self.follow:
                    self._take(document)
            except SpoolError as error:
                self.error = error

    def _take(self, document: Document) -> None:
        if self.first_text_s is None and (document.kind == "token" or document.kind == ""):
            self.first_text_s = time.monotonic() - self._began
        self.documents.append(document)

    def _changed(self, follow: Follow | AsyncFollow) -> None:
        self.states.append((follow.connection, follow.transport))
