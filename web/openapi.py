"""``/openapi.json`` and ``/docs``: the API's description, made from the contracts of its views."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

import orjson
from flask import Blueprint, Flask, Response, current_app
from gevent.lock import BoundedSemaphore

from web.auth import scope
from web.contract import Answer, Content, Contract, json_content
from web.docs.shell import framed
from web.openapi_document import Document
from web.problem_kinds import KINDS

blueprint = Blueprint("openapi", __name__)

_HIDDEN = frozenset(
    {
        "/read",
        "/static/<path:name>",
        "/static/client/<path:name>",
        "/docs/<path:name>",
        "/demo/kill/<part>",
        "/demo/worker",
    }
)
"""Files of the console and pages; not an API."""
_EXTENSION = "openapi"
_MAKING = BoundedSemaphore(1)


@blueprint.get("/openapi.json")
@scope("public")
@Contract(answers={200: Answer("This description, in OpenAPI 3.1.", [json_content(dict[str, Any])])})
def openapi_json() -> Response:
    """This API as OpenAPI 3.1."""
    with _MAKING:
        # Made once, since it takes a third of a second, and on demand, since most processes are never asked for it.
        if _EXTENSION not in current_app.extensions:
            current_app.extensions[_EXTENSION] = orjson.dumps(document(current_app))
    return Response(
        current_app.extensions[_EXTENSION], mimetype="application/json", headers={"Cache-Control": "no-store"}
    )


@blueprint.get("/docs")
@scope("public")
@Contract(answers={200: Answer("The page.", [Content("text/html")])})
def docs() -> Response:
    """This API as a page: every call with its effect and its scope, and every kind of problem."""
    rows = "\n".join(
        f"<tr><td><code>{method} {escape(rule)}</code></td><td>{_prose(summary_of(view))}</td>"
        f"<td><code>{escape(view.scope)}</code></td></tr>"
        for rule, method, view in calls(current_app)
    )
    problems = "\n".join(
        f'<tr id="{escape(kind.name)}"><td>{kind.status}</td><td>{escape(kind.title)}</td>'
        f"<td>{escape(kind.detail)}</td></tr>"
        for kind in KINDS
    )
    return framed(
        "API",
        f"""<h1>Spool API</h1><p>Machine-readable: <a href="/openapi.json">/openapi.json</a>. Errors are
<code>application/problem+json</code> (RFC 9457).</p>
<div class="wide" role="region" tabindex="0" aria-label="Calls"><table class="calls">
<thead><tr><th>Call</th><th>Does</th><th>Scope</th></tr></thead><tbody>{rows}</tbody></table></div>
<h2>Problems</h2>
<div class="wide" role="region" tabindex="0" aria-label="Table of problems"><table>
<thead><tr><th>Status</th><th>Title</th><th>Example</th></tr></thead><tbody>{problems}</tbody></table></div>""",
    )


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI document."""
    made = Document()
    for rule, method, view in calls(app):
        made.add(rule, method, view, summary_of(view))
    return made.as_dict()


def calls(app: Flask) -> Iterator[tuple[str, str, Any]]:
    """Every call: its rule, its method and its view."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        if rule.rule not in _HIDDEN:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule.rule, method, app.view_functions[rule.endpoint]


def summary_of(view: Any) -> str:
    """The view's docstring in one line."""
    return " ".join((view.__doc__ or "").split())


def _prose(summary: str) -> str:
    return re.sub(r"``(.+?)``", r"<code>\1</code>", escape(summary))
