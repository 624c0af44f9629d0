"""UI message streams for ``WorkflowChatTransport``, which counts their chunks and asks for the rest by number.

https://workflow.dev/docs/ai/resumable-streams. It asks again until it gets a ``finish``, so one follows an error and an
abort as well. A chunk's number is a function of the log: a wait, which is no entry, is a comment here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from spool.jobs.job import Job
from spool.jobs.waits import Wait
from web.ai_sdk.ui_parts import Chunk
from web.ai_sdk.ui_stream import DONE, UiMessageStream

_END = b"\n\n"


class WorkflowStream(UiMessageStream):
    """One stream, without its first ``start_index`` chunks. ``[DONE]`` is no chunk."""

    name = "workflow"

    def __init__(self, job: Job, continued: Mapping[str, Any], *, start_index: int = 0) -> None:
        super().__init__(job, continued, again=False)
        self.after = start_index - 1
        self.number = 0
        """The number of the next chunk."""

    def rest(self, data: bytes) -> bytes:
        """``data``, which ends before the next chunk, without the chunks up to ``after``."""
        return self._without_known(data, self.number - _count(data))

    def opening(self) -> bytes:
        """The start of the message."""
        return self._counted(super().opening())

    def queued(self, wait: Wait) -> bytes:
        """A comment: a wait has no place in the log, so its chunk would have no number."""
        return b": queued %b\n\n" % orjson.dumps(wait.message())

    def _entries(self, entries: list[dict[str, Any]]) -> bytes:
        return self._counted(super()._entries(entries))

    def _counted(self, data: bytes) -> bytes:
        first = self.number
        self.number += _count(data)
        return data if first > self.after else self._without_known(data, first)

    def _without_known(self, data: bytes, first: int) -> bytes:
        known = min(self.after + 1 - first, _count(data))
        return _END.join(data.split(_END)[max(0, known) :])

    def _end(self, chunk: Chunk) -> bytes:
        if chunk["type"] == "finish":
            return super()._end(chunk)
        ends = super()._end(chunk).removesuffix(DONE)
        reason = "error" if chunk["type"] == "error" else "other"
        return ends + super()._end({"type": "finish", "finishReason": reason})


def _count(data: bytes) -> int:
    """The chunks in ``data``. Within JSON, line breaks are escaped."""
    return data.count(_END) - data.endswith(DONE)
