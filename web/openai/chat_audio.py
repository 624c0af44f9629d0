"""The audio of a whole chat completion, as OpenAI answers it: from the file that the job returned."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from flask import request

from spool.errors import FileNotFound
from spool.jobs.job import Job
from web.server.peer import presence
from web.services import State


def heard(services: State, job: Job, message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message with its ``audio``, if it has a file of it. Without the file, which may be deleted, it is left as it
    is. Raises ``StoreUnavailable``."""
    for annotation in message.get("annotations") or ():
        named = annotation.get("file_path")
        if isinstance(named, Mapping) and str(named.get("media_type")).startswith("audio/"):
            try:
                return {**message, **_audio(services, job, named, message["content"] or "")}
            except FileNotFound:
                break
    return message


def _audio(services: State, job: Job, named: Mapping[str, Any], text: str) -> dict[str, Any]:
    file = services.files.get(named["file_id"], job.owner)
    # It may be 24 MiB, and more than twice that on the way, so only a few are made at a time.
    with services.folds.whole(job.owner, presence(request.environ)) as is_wanted:
        if not is_wanted:
            return {}
        data = base64.b64encode(b"".join(services.files.read(file))).decode()
    transcript = text.replace(f" [audio]({named['url']})", "")
    return {"audio": {"id": file.id, "data": data, "transcript": transcript, "expires_at": file.expires_ms // 1000}}
