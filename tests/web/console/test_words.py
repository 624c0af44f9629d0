"""The console's words: each has a translation, and no translation has lost its text."""

from __future__ import annotations

import re

from tests.stack import ROOT

_STATIC = ROOT / "web" / "console" / "static"
_CALL = re.compile(r'\bt\(\s*"((?:[^"\\]|\\.)*)"')
_MARKED = re.compile(r"data-t>([^<]+)<")
_LABELLED = re.compile(r"<[^>]*data-t-(?:label|hint)[^>]*>")
_LABEL = re.compile(r'(?:aria-label|placeholder)="([^"]+)"')
_KEY = re.compile(r'^  (?:"((?:[^"\\]|\\.)*)"|(\w+)):', re.MULTILINE)


def _used() -> set[str]:
    scripts = [path.read_text() for path in _STATIC.rglob("*.js") if "vendor" not in path.parts]
    page = "".join(path.read_text() for path in _STATIC.glob("*.html"))
    found = {text for script in scripts for text in _CALL.findall(script)}
    found |= {" ".join(text.split()) for text in _MARKED.findall(page)}
    return found | {text for tag in _LABELLED.findall(page) for text in _LABEL.findall(tag)}


def test_each_text_is_translated() -> None:
    """A Chinese reader sees no English among the page's own words, and each word of the dictionary is used."""
    known = {quoted or bare for quoted, bare in _KEY.findall((_STATIC / "words_zh.js").read_text())}
    assert known == _used()


def test_placeholders_are_kept() -> None:
    """A translation names the same values as its text."""
    pairs = re.findall(r'"([^"\n]*\{\w+\}[^"\n]*)":\s*"([^"\n]*)"', (_STATIC / "words_zh.js").read_text())
    assert len(pairs) > 20
    differ = [text for text, said in pairs if set(re.findall(r"\{\w+\}", text)) != set(re.findall(r"\{\w+\}", said))]
    assert differ == []
