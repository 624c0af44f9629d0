"""The frame of every page below ``/docs``. Its policy permits files of this server alone."""

from __future__ import annotations

from html import escape

from flask import Response

from web.docs.library import Page, pages

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def framed(title: str, content: str, *, current: str = "", language: str = "en") -> Response:
    """A page with this content, which is HTML. ``current``: the name of the page in the list; empty for the API."""
    body = f"""<!doctype html><html lang="{language}"><meta charset="utf-8"><title>{escape(title)} · Spool</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/style.css">
<link rel="stylesheet" href="/static/docs.css"><script type="module" src="/static/docs.js"></script>
<a class="skip" href="#content">Skip to the content</a>
<header class="top"><a class="brand" href="/"><img src="/static/icon.svg" alt="" width="28" height="28">
<span>Spool</span></a><a href="/">Console</a><a href="/openapi.json">openapi.json</a></header>
<div class="frame"><nav aria-label="Documentation"><details id="pages" open><summary>Pages</summary>
<ul>{_list(current)}</ul></details></nav>
<main id="content" tabindex="-1">{content}</main></div></html>"""
    response = Response(body, mimetype="text/html", headers={"Cache-Control": "no-cache"})
    response.headers["Content-Security-Policy"] = _POLICY
    return response


def markdown_page(page: Page) -> Response:
    """A Markdown file as a page. The browser draws it; without JavaScript its source is shown."""
    content = (
        f'<article id="page" data-file="{escape(page.file)}"><pre class="source">{escape(page.text())}</pre></article>'
    )
    language = "zh" if page.file.endswith(".zh.md") else "en"
    return framed(page.title, content, current=page.name, language=language)


def _list(current: str) -> str:
    links = [
        ("", "/docs", "API", False),
        *((page.name, f"/docs/{page.name}", page.title, page.is_part) for page in pages().values()),
    ]
    return "\n".join(
        f'<li{" class=part" if is_part else ""}><a href="{escape(href)}"'
        f"{' aria-current=page' if name == current else ''}>{escape(title)}</a></li>"
        for name, href, title, is_part in links
    )
