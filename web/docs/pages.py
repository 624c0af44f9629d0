"""``/docs/NAME``: a page of the documentation, or a picture or example that one links to."""

from __future__ import annotations

from flask import Blueprint, Response, abort, redirect, send_file

from web.auth import scope
from web.contract import Answer, Content, Contract
from web.docs.library import attachments, name_of, pages
from web.docs.shell import markdown_page

blueprint = Blueprint("docs", __name__)


@blueprint.get("/docs/<path:name>")
@scope("public")
@Contract(
    answers={
        200: Answer("The page, picture or example.", [Content(name) for name in ("text/html", "image/svg+xml")]),
        302: Answer("The page, at its address without `.md`."),
        304: Answer("Nothing has changed."),
    },
    errors=[404],
)
def page(name: str) -> Response:
    """A page of this version's documentation."""
    if name in pages():
        return markdown_page(pages()[name])
    if name in attachments():
        found = attachments()[name]
        response = send_file(found.path, mimetype=found.media_type, max_age=0)
        response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return response
    if name.endswith(".md") and name_of(f"docs/{name}") in pages():
        # A link of the repository, typed by hand.
        return redirect(f"/docs/{name_of(f'docs/{name}')}")  # type: ignore[return-value]
    return abort(404)
