"""UI message streams: entries in, the AI SDK's chunks out.

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol#data-stream-protocol. Spool adds ``data-waiting``, ``data-usage`` and
``data-error``. ``onData`` receives them; the message does not keep them. (Usage as message metadata would break the
stream of an application with another metadata schema.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from spool.jobs.conversation import ToolCall
from spool.jobs.entries import Kind, decode_all, is_mark
from spool.jobs.job import Job
from spool.jobs.log import Row
from spool.jobs.waits import Wait
from web.ai_sdk.ui_parts import Chunk, chunks_of
from web.delivery.failures import failure_of
from web.entry_translation import WholeCalls
from web.joined_text import joined

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
MESSAGE_PREFIX = "msg_"
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"

_FINISH = {"stop": "stop", "length": "length", "content_filter": "content-filter", "tool_calls": "tool-calls"}


def message_id_of(job_id: str, continued: Mapping[str, Any]) -> str:
    """The id of the message that the job's answer creates or continues."""
    return continued.get("message_id") or f"{MESSAGE_PREFIX}{job_id}"


class UiMessageStream(WholeCalls):
    """One stream. ``continued`` is the message that the answer continues: its ``message_id`` and its ``parts``. A
    resume (``again``) replays the parts."""

    name = "ai"

    def __init__(self, job: Job, continued: Mapping[str, Any], *, again: bool) -> None:
        super().__init__(job)
        self._message_id = message_id_of(job.id, continued)
        self._again = again
        self._before = continued.get("parts", ()) if again else ()
        self._parts = 0
        self._open: str | None = None
        self._open_head = b""
        self._open_end = b""
        self._has_answer = False
        self._source_count = 0

    @property
    def format(self) -> tuple[str, bool]:
        """Its format: the protocol, and whether adjacent texts are joined."""
        return self.name, self._again

    def opening(self) -> bytes:
        """The start of the message, and on a resume its earlier parts."""
        start = {"type": "start", "messageId": self._message_id}
        return b"".join(map(_encode, (start, *chunks_of(self._before), {"type": "start-step"})))

    def entries(self, rows: list[Row]) -> bytes:
        """The chunks of these entries. A terminal entry also adds the end of the stream."""
        return self._entries(decode_all([raw for _entry_id, raw in rows]))

    def page(self, rows: list[Row]) -> bytes:
        """The chunks of these entries; on a resume, with one delta for adjacent texts. A request with a known
        ``Idempotency-Key`` gets the bytes of the first one."""
        entries = decode_all([raw for _entry_id, raw in rows])
        return self._entries(joined(entries) if self._again else entries)

    def heartbeat(self) -> bytes:
        """A comment line."""
        return PING

    def queued(self, wait: Wait) -> bytes:
        """A transient part, which no message keeps."""
        return _data("queue", {name: value for name, value in wait.message().items() if name != "type"})

    def broken_off(self, code: str, message: str) -> None:
        """None, which cuts the connection: the client then resumes. An error chunk would end its answer for good."""

    def _entries(self, entries: list[dict[str, Any]]) -> bytes:
        return b"".join([self._entry(entry) for entry in entries if not self.over])

    def _entry(self, entry: dict[str, Any]) -> bytes:
        match entry["kind"]:
            case Kind.TOKEN if is_mark(entry):
                return self._sources(entry)
            case Kind.TOKEN:
                self._has_answer = True
                return self._text("text", entry["text"])
            case Kind.REASONING:
                return self._text("reasoning", entry["text"])
            case Kind.TOOL_CALL:
                self._has_answer = True
                return self._call(entry)
            case Kind.USAGE:
                return _data("usage", _usage(entry))
            case Kind.WAITING:
                return _data("waiting", {"reason": entry["reason"], "retry_at": entry["retry_at"]})
            case Kind.RESTARTED if self._has_answer:
                return self._end({"type": "error", "errorText": "generation was interrupted and restarted"})
            case Kind.RESTARTED:
                return self._close()
            case Kind.DONE:
                return self._done(entry["finish_reason"])
            case Kind.FAILED:
                return self._failed(entry["error"])
            case Kind.CANCELLED:
                return self._end({"type": "abort"})
        return b""

    def _failed(self, error: Mapping[str, Any]) -> bytes:
        """The codes as a part, because an error chunk has only a text."""
        failure = failure_of(error)
        named = {"code": failure.code, "status": failure.status, "type": failure.kind, "spool": failure.own}
        return _data("error", named) + self._end({"type": "error", "errorText": failure.message})

    def _sources(self, entry: Mapping[str, Any]) -> bytes:
        """The annotations that name a page, as sources; those that name a file, as files."""
        found = b""
        for annotation in entry.get("annotations") or ():
            file = annotation.get("file_path")
            if isinstance(file, dict) and isinstance(file.get("url"), str):
                found += _encode({"type": "file", "url": file["url"], "mediaType": str(file.get("media_type"))})
            cited = annotation.get("url_citation")
            if isinstance(cited, dict) and isinstance(cited.get("url"), str):
                source = {"type": "source-url", "sourceId": f"source-{self._source_count}", "url": cited["url"]}
                title = {"title": cited["title"]} if isinstance(cited.get("title"), str) else {}
                found += _encode({**source, **title})
                self._source_count += 1
        return found

    def _text(self, kind: str, text: str) -> bytes:
        if self._open == kind:
            return self._delta(text)
        part_id = f"{kind}-{self._parts}"
        closing = self._close()
        self._parts += 1
        self._open = kind
        self._open_head = _encode({"type": f"{kind}-delta", "id": part_id})[: -len(b"}\n\n")]
        self._open_end = _encode({"type": f"{kind}-end", "id": part_id})
        return closing + _encode({"type": f"{kind}-start", "id": part_id}) + self._delta(text)

    def _delta(self, text: str) -> bytes:
        return b'%b,"delta":%b}\n\n' % (self._open_head, orjson.dumps(text))

    def _close(self) -> bytes:
        """Close the open text part."""
        data = self._open_end if self._open else b""
        self._open = None
        return data

    def _call(self, entry: Mapping[str, Any]) -> bytes:
        call, begins = self.call_of(entry)
        data = self._close() + _encode({"type": "tool-input-start", **_named(call)}) if begins else b""
        arguments = entry["arguments"]
        if not arguments:
            return data
        call.pieces.add(arguments)
        return data + _encode({"type": "tool-input-delta", "toolCallId": call.call_id, "inputTextDelta": arguments})

    def _done(self, finish_reason: str) -> bytes:
        # The calls are complete only now, because their pieces may come in any order.
        calls = b"".join([_encode(_input(call)) for call in self.calls.values()])
        finish = {"type": "finish", "finishReason": _FINISH.get(finish_reason, "other")}
        return self._close() + calls + _encode({"type": "finish-step"}) + self._end(finish)

    def _end(self, chunk: Chunk) -> bytes:
        self.over = True
        return self._close() + _encode(chunk) + DONE


def _named(call: ToolCall) -> Chunk:
    return {"toolCallId": call.call_id, "toolName": call.name}


def _input(call: ToolCall) -> Chunk:
    try:
        parsed = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError as exc:
        error = {"input": call.arguments, "errorText": f"the model's arguments are not JSON: {exc}"}
        return {"type": "tool-input-error", **_named(call), **error}
    return {"type": "tool-input-available", **_named(call), "input": parsed}


def _usage(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A ``usage`` entry in the SDK's fields (``LanguageModelUsage``)."""
    return {
        "inputTokens": entry["input_tokens"],
        "outputTokens": entry["output_tokens"],
        "totalTokens": entry["input_tokens"] + entry["output_tokens"],
        "inputTokenDetails": {"cacheReadTokens": entry.get("cached_tokens") or 0},
        "outputTokenDetails": {"reasoningTokens": entry.get("reasoning_tokens") or 0},
    }


def _data(name: str, data: Mapping[str, Any]) -> bytes:
    return _encode({"type": f"data-{name}", "data": data, "transient": True})


def _encode(chunk: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(chunk)
