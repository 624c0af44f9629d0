"""JSON responses."""

from __future__ import annotations

from web.json_response import json_response


def test_response() -> None:
    """Its status, its type and its text are as given, and no cache keeps it."""
    response = json_response({"a": "é"}, 202, {"Location": "/jobs/x"})
    assert (response.status_code, response.mimetype, response.data) == (202, "application/json", '{"a":"é"}'.encode())
    assert (response.headers["Cache-Control"], response.headers["Location"]) == ("no-store", "/jobs/x")


def test_headers_may_replace_the_default() -> None:
    """A caller that wants a cache says so."""
    assert json_response({}, headers={"Cache-Control": "max-age=60"}).headers["Cache-Control"] == "max-age=60"
