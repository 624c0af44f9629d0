"""The console page at ``/``: submits a prompt, streams its answer, and reconnects after a lost connection."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, abort, send_from_directory

from web.auth import scope
from web.contract import Answer, Content, Contract

blueprint = Blueprint("page", __name__)
_HERE = Path(__file__).parent
_STATIC = _HERE / "static"
_INSTALLED_CLIENT = _HERE / "client"
_CLIENT = _INSTALLED_CLIENT if _INSTALLED_CLIENT.is_dir() else _HERE.parents[1] / "clients" / "js"
"""The JavaScript client: in the wheel beside this module, in a checkout where it is developed."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def _file(name: str, folder: Path = _STATIC) -> Response:
    response = send_from_directory(folder, name, max_age=0)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@blueprint.get("/")
@scope("public")
@Contract(answers={200: Answer("The page.", [Content("text/html")])})
def index() -> Response:
    """The console page."""
    return _file("index.html")


@blueprint.get("/read")
@scope("public")
@Contract(answers={200: Answer("The page.", [Content("text/html")])})
def read() -> Response:
    """The page of one answer, for a link that the console makes: the job and its token are behind ``#``."""
    return _file("read.html")


@blueprint.get("/static/<path:name>")
@scope("public")
@Contract(
    answers={
        200: Answer("The file.", [Content(name) for name in ("text/javascript", "text/css", "image/svg+xml")]),
        304: Answer("Nothing has changed."),
    },
    errors=[404],
)
def static_file(name: str) -> Response:
    """The console's scripts and styles."""
    return _file(name)


@blueprint.get("/static/client/<path:name>")
@scope("public")
@Contract(
    answers={
        200: Answer("The module.", [Content("text/javascript", example=lambda: "export const answer = 42;\n")]),
        304: Answer("Nothing has changed."),
    },
    errors=[404],
)
def client_file(name: str) -> Response:
    """The modules of the JavaScript client, which the console is built on."""
    if not name.endswith(".js"):
        abort(404)
    return _file(name, _CLIENT)
