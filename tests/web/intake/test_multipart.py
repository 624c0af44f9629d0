"""A form with one file: its content piece by piece, its fields, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from werkzeug.exceptions import HTTPException

from web.intake.multipart import FIELDS_BYTES, Form
from web.problems import Problem

APP = Flask("multipart", static_folder=None)
MOST = 1_000_000
FIELD = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
END = b"\r\n--b--\r\n"


def read(body: bytes, **headers: str) -> tuple[bytes, dict[str, str], str]:
    """The content, the fields and the filename of a form with this body."""
    headers = {"Content-Type": "multipart/form-data; boundary=b", **headers}
    with APP.test_request_context("/", method="POST", data=body, headers=headers):
        form = Form("file", MOST)
        return b"".join(form.content()), form.fields, form.filename


@pytest.mark.parametrize("content", [b"", b"\r\n", b"x--b", b"\r\n--bb\r\n", b"\r\n-" * 90_000, b"x" * MOST], ids=len)
@pytest.mark.parametrize("order", ["field first", "file first"])
def test_content_is_what_was_sent(content: bytes, order: str) -> None:
    """Whatever is in it, also what resembles a boundary, and wherever the fields stand."""
    body = FIELD + FILE + content + END if order == "field first" else FILE + content + b"\r\n" + FIELD.strip() + END
    assert read(body) == (content, {"purpose": "batch"}, "a.jsonl")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (FIELD + FILE + b"x", {}, 400),
        (b"nonsense", {}, 400),
        (FILE.replace(b"Content-Disposition", b"X") + b"x" + END, {}, 400),
        (FILE.replace(b"a.jsonl", b"\xff") + b"x" + END, {}, 400),
        (FIELD[:-2] + END, {}, 422),
        (FILE.replace(b'"file"', b'"other"') + b"x" + END, {}, 422),
        (FILE + b"x\r\n" + FILE + b"x" + END, {}, 422),
        (FIELD.replace(b"batch", b"\xff") + FILE + b"x" + END, {}, 422),
        (FILE + b"x" * (MOST + 1) + END, {}, 413),
        (FILE + b"x" * (MOST + FIELDS_BYTES) + END, {}, 413),
        (FIELD.replace(b"batch", b"x" * FIELDS_BYTES) + FIELD + FILE + b"x" + END, {}, 413),
        (FILE + b"x" + END, {"Content-Type": "application/json"}, 415),
        (FILE + b"x" + END, {"Content-Type": "multipart/form-data"}, 415),
        (FILE + b"x" + END, {"Content-Encoding": "gzip"}, 415),
        (b"x" * 400_000, {}, 413),
        (FIELD.replace(b"\r\n\r\n", b"\r\n" + b":\n" * 10_000 + b"\r\n\r\n") * 4 + FILE + b"x" + END, {}, 413),
        (FILE.replace(b"\r\n\r\n", b";" * FIELDS_BYTES + b"\r\n\r\n") + b"x" + END, {}, 413),
        (FILE + b"x" + END + b"x" * (FIELDS_BYTES + 1), {}, 413),
        (FILE + b"x" + END, {"Content-Type": f"multipart/form-data; boundary={'b' * 71}"}, 415),
    ],
    ids=range(19),
)
def test_form_that_is_refused(body: bytes, headers: Any, status: int) -> None:
    """A form that is incomplete, has no file or two, or is too large in any part has its status."""
    with pytest.raises((Problem, HTTPException)) as caught:
        read(body, **headers)
    found = caught.value
    assert (found.status if isinstance(found, Problem) else found.code) == status  # type: ignore[attr-defined]
