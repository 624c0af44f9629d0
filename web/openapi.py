"""``/openapi.json`` and ``/docs``: the API's description, generated from its routes."""

from __future__ import annotations

import inspect
import re
from html import escape
from typing import Any

from flask import Blueprint, Response, current_app

import spool
from web.auth import scope
from web.json_response import json_response
from web.native.submission import Submission

blueprint = Blueprint("openapi", __name__)

_PARAMETER = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")
_HIDDEN = frozenset({"/static/<path:name>"})


@blueprint.get("/openapi.json")
@scope("public")
def openapi_json() -> Response:
    """This API as OpenAPI 3.1."""
    return json_response(document())


@blueprint.get("/docs")
@scope("public")
def docs() -> Response:
    """This API as a page: every call with its effect and its scope."""
    rows = "\n".join(
        f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{_prose(call['summary'])}</td>"
        f"<td><code>{escape(call['x-scope'])}</code></td></tr>"
        for path, calls in document()["paths"].items()
        for method, call in calls.items()
    )
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Spool API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/docs.css">
<h1>Spool API</h1><p>Machine-readable: <a href="/openapi.json">/openapi.json</a>. Errors are
<code>application/problem+json</code> (RFC 9457).</p>
<table><thead><tr><th>Call</th><th>Does</th><th>Scope</th></tr></thead><tbody>{rows}</tbody></table></html>"""
    return Response(page, mimetype="text/html")


def _prose(summary: str) -> str:
    return re.sub(r"``(.+?)``", r"<code>\1</code>", escape(summary))


def document() -> dict[str, Any]:
    """The OpenAPI document, generated from the routes and their docstrings."""
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(current_app.url_map.iter_rules(), key=lambda rule: rule.rule):
        if rule.rule in _HIDDEN:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path = _PARAMETER.sub(r"{\1}", rule.rule)
            paths.setdefault(path, {})[method.lower()] = _call(rule.endpoint, rule.rule, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Spool", "version": spool.__version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": {"Submission": _schema(), "Problem": _PROBLEM},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _call(endpoint: str, path: str, method: str) -> dict[str, Any]:
    view = current_app.view_functions[endpoint]
    needed = getattr(view, "scope", "public")
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    call: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}_{path}").strip("_"),
        "summary": " ".join((inspect.getdoc(view) or "").split()),
        "x-scope": needed,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(path)
        ],
        "responses": {
            "2XX": {"description": "see the summary"},
            "4XX": {"description": "invalid request", "content": problem},
            "503": {"description": "retry later (Retry-After)", "content": problem},
        },
    }
    if needed != "public":
        call["security"] = [{"key": []}]
    if (method, path) == ("POST", "/jobs"):
        schema = {"$ref": "#/components/schemas/Submission"}
        call["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return call


def _schema() -> dict[str, Any]:
    return Submission.model_json_schema(ref_template="#/components/schemas/Submission/$defs/{model}")


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
