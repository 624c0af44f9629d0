"""Logging: one line per event, as JSON or as readable text. Values that may be secret are never logged.

``event`` writes what happened to a job or a request, with its fields. It does not go through ``logging``, which takes
ten times as long, since a web writes thousands of such lines a second.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
import structlog

_NOISY = ("httpx", "httpcore", "httpx2", "httpcore2", "openai", "celery.app.trace", "celery.worker.strategy", "kombu")
_log = logging.getLogger("spool.event")


@dataclass(slots=True)
class _Form:
    """The form of this process's event lines."""

    readable: bool = True
    has_content: bool = False


_form = _Form()


def configure(level: str, log_format: str, *, content: bool = False) -> None:
    """Send the standard library's logging to stderr through structlog. ``log_format``: ``json``, ``text``, or ``auto``
    for text on a terminal and JSON elsewhere. ``content``: prompts and messages of upstreams are logged, too."""
    _form.readable = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    _form.has_content = content
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
        if _form.readable
        else structlog.processors.JSONRenderer(serializer=_dumps)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


def event(name: str, *, content: Mapping[str, Any] | None = None, **fields: Any) -> None:
    """Write one line: the event's name and its fields, without those that are None. ``content`` has fields that contain
    texts of callers or upstreams; they are written only with ``SPOOL_LOG_CONTENT=1``."""
    if not _log.isEnabledFor(logging.INFO):
        return
    if content and _form.has_content:
        fields |= content
    line = {
        "event": name,
        **{key: value for key, value in fields.items() if value is not None},
        "pid": os.getpid(),
        "level": "info",
        "logger": _log.name,
        "timestamp": _timestamp(),
    }
    text = _readable(line) if _form.readable else _dumps(line)
    sys.stderr.write(text + "\n")


def _timestamp() -> str:
    second, microsecond = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{_second(second)}.{microsecond:06d}Z"


# Formatting the whole time was a quarter of an event's cost.
@lru_cache(maxsize=1)
def _second(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _readable(line: dict[str, Any]) -> str:
    at, level, name = line.pop("timestamp"), line.pop("level"), line.pop("event")
    del line["logger"]
    # As JSON, so that no value can end the line or imitate another field.
    values = (f"{key}={_dumps(value)}" for key, value in line.items())
    return " ".join((at, f"[{level}]", name, *values))


def _dumps(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=str).decode()
