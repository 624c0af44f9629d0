"""The floor: bare Flask streaming in gunicorn+gevent processes. No queue, no log, no resume, one reader each: what a
token costs when nothing is promised. The answer dies with its connection."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gevent
from flask import Flask, Response, jsonify, request

app = Flask(__name__)


@app.get("/stream")
def stream() -> Response:
    """Stamped tokens, ``rate`` per second, the first at ``first_at`` (epoch seconds)."""
    rate, tokens, first_at = float(request.args["rate"]), int(request.args["tokens"]), float(request.args["first_at"])
    return Response(_events(first_at, rate, tokens), mimetype="text/event-stream")


@app.put("/polled")
def put_polled() -> Response:
    """What polls are answered with from now on."""
    app.config["POLLED"] = request.get_json()
    return Response(status=204)


@app.get("/polled")
def polled() -> Response:
    """A status poll as anybody would write it; there is no job behind it, and nothing is looked up."""
    response = jsonify(app.config["POLLED"])
    response.set_etag("polled")
    response.make_conditional(request)
    return response


def _events(first_at: float, rate: float, tokens: int) -> Iterator[bytes]:
    yield b"event: attached\ndata: {}\n\n"
    for number in range(tokens):
        due = first_at + number / rate
        gevent.sleep(max(0.0, due - time.time()))
        data = b'{"id":%d,"kind":"token","text":"%d "}' % (number + 1, round(due * 1e6))
        yield b"id: %d\nevent: token\ndata: %b\n\n" % (number + 1, data)
