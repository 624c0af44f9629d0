"""Responses without content carry no ``Content-Type`` (RFC 9110 sections 15.3.5 and 15.4.5)."""

from __future__ import annotations

from flask import Flask, Response

_WITHOUT_CONTENT = frozenset({204, 304})


def install(app: Flask) -> None:
    """Remove the content headers that Flask adds to every response from those without content."""

    def leave_out(response: Response) -> Response:
        if response.status_code in _WITHOUT_CONTENT:
            response.headers.pop("Content-Type", None)
            response.headers.pop("Content-Length", None)
        return response

    app.after_request(leave_out)
