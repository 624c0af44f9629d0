"""Range requests: which part of a content is answered with."""

from __future__ import annotations

import pytest
from flask import Flask, Response

from web.problems import Problem
from web.ranges import requested_range

APP = Flask("ranges", static_folder=None)
ETAG = '"one"'


@pytest.mark.parametrize(
    ("headers", "status", "start", "stop"),
    [
        ({}, 200, 0, 100),
        ({"Range": "bytes=0-0"}, 206, 0, 1),
        ({"Range": "bytes=90-"}, 206, 90, 100),
        ({"Range": "bytes=90-1000"}, 206, 90, 100),
        ({"Range": "bytes=-5"}, 206, 95, 100),
        ({"Range": "bytes=-101"}, 206, 0, 100),
        ({"Range": "bytes=-0"}, 200, 0, 100),
        ({"Range": f"bytes=0-{'9' * 30}"}, 206, 0, 100),
        ({"Range": "bytes=0-1", "If-Range": ETAG}, 206, 0, 2),
        ({"Range": "bytes=0-1", "If-Range": '"other"'}, 200, 0, 100),
        ({"Range": "bytes=0-1,5-6"}, 200, 0, 100),
        ({"Range": "lines=0-1"}, 200, 0, 100),
        ({"Range": "bytes=x"}, 200, 0, 100),
    ],
    ids=str,
)
def test_range_of_a_content(headers: dict[str, str], status: int, start: int, stop: int) -> None:
    """One range of bytes is answered with that part; anything else, or a range of another version, with the whole."""
    with APP.test_request_context("/", headers=headers):
        found, response = requested_range(100, ETAG), Response()
        found.apply(response)
    assert (found.start, found.stop, response.status_code) == (start, stop, status)
    assert response.headers["Content-Length"] == str(stop - start)
    assert response.headers.get("Content-Range") == (f"bytes {start}-{stop - 1}/100" if status == 206 else None)


def test_range_behind_the_end() -> None:
    """It is refused with the size of the whole."""
    with APP.test_request_context("/", headers={"Range": "bytes=100-"}), pytest.raises(Problem) as caught:
        requested_range(100, ETAG)
    assert caught.value.status == 416
    assert caught.value.headers == {"Content-Range": "bytes */100"}
