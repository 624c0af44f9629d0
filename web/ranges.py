"""Range requests (RFC 9110 section 14): the one range of a content that a client asks for."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response, request

from web.contract import Parameter
from web.problems import Problem

UNSATISFIABLE = 416
RANGE = Parameter("Range", str, "One range of bytes, such as `bytes=0-1023`. Several are answered with the whole.")
CONTENT_RANGE = Parameter("Content-Range", str, "The range and the size of the whole.")


@dataclass(frozen=True, slots=True)
class Requested:
    """The bytes from ``start`` to before ``stop`` of ``size``. ``is_part``: whether the client asked for a range."""

    start: int
    stop: int
    size: int
    etag: str
    is_part: bool

    def apply(self, response: Response) -> None:
        """Set the response's status and headers."""
        response.headers["Accept-Ranges"] = "bytes"
        response.headers["ETag"] = self.etag
        response.headers["Content-Length"] = str(self.stop - self.start)
        if self.is_part:
            response.status_code = 206
            response.headers["Content-Range"] = f"bytes {self.start}-{self.stop - 1}/{self.size}"


def requested_range(size: int, etag: str) -> Requested:
    """The range that this request asks for, or the whole. Raises a 416 ``Problem``."""
    whole = Requested(0, size, size, etag, is_part=False)
    asked = request.range
    is_other = request.headers.get("If-Range", etag) != etag
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1 or is_other:
        return whole
    first, stop = asked.ranges[0]
    # Of a suffix that is longer than the content, all there is (RFC 9110 section 14.1.2). Werkzeug refuses it.
    start, stop = max(0, size + first) if first < 0 else first, min(size, size if stop is None else stop)
    if start >= stop:
        headers = {"Content-Range": f"bytes */{size}"}
        raise Problem(UNSATISFIABLE, "Requested Range Not Satisfiable", f"the file has {size} bytes", headers=headers)
    return Requested(start, stop, size, etag, is_part=True)
