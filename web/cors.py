"""CORS: the browser origins that may call, and the headers exposed to them."""

from __future__ import annotations

from flask import Flask
from flask_cors import CORS

from spool.settings import WebSettings

EXPOSED = ["Location", "ETag", "Retry-After", "Idempotent-Replayed", "Preference-Applied", "X-Spool-Job"]
EXPOSED += ["X-Request-Id", "Spool-Version", "x-should-retry", "x-workflow-run-id", "x-workflow-stream-tail-index"]
EXPOSED += ["Stream-Next-Offset", "Stream-Up-To-Date", "Stream-Closed", "Stream-Cursor"]


def install(app: Flask, settings: WebSettings) -> None:
    """Allow the origins of ``SPOOL_ALLOWED_ORIGINS``; by default none. Credentials travel in a header, not a cookie."""
    origins = settings.origins()
    if origins:
        CORS(app, origins=origins, expose_headers=EXPOSED, max_age=600)
