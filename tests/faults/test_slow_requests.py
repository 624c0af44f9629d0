"""Requests that arrive slowly or not at all, and connections without one: closed in time, and nobody else notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.bystander import Bystander
from tests.faults.flooder import flood, port_answers
from tests.faults.jobs import let_pass
from tests.faults.vitals import broke, processes_of
from tests.stack import running_stack

_HOST = "HTTP/1.1\r\nHost: 127.0.0.1\r\n"
_POST = f"POST /jobs {_HOST}Content-Type: application/json\r\n"
_JSONL = "Content-Type: application/jsonl\r\n"
_MULTIPART = "Content-Type: multipart/form-data; boundary=b\r\n"
_LENGTH = "Content-Length: 1000000\r\n\r\n"
_HALF = "x" * 60_000
_PLACES = 1200
"""Of a web with SPOOL_MAX_STREAMS=200."""

ATTACKS = {
    "headers at a byte a second": (f"GET /livez {_HOST}X: ", "x", 1.0),
    "a body at a byte a second": (f"{_POST}Content-Length: 1000000\r\n\r\n", "x", 1.0),
    "a body in chunks at a byte a second": (f"{_POST}Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", 1.0),
    "a body that pauses": (f"{_POST}{_LENGTH}{_HALF}", "", 1.0),
    "a body in one chunk that pauses": (f"{_POST}Transfer-Encoding: chunked\r\n\r\nfffff\r\n{_HALF}", "", 1.0),
    "a body in chunks that pauses": (
        f"{_POST}Transfer-Encoding: chunked\r\n\r\n" + f"3e8\r\n{'x' * 1000}\r\n" * 60,
        "",
        1.0,
    ),
    "lines that pause": (f"POST /batches {_HOST}{_JSONL}{_LENGTH}" + '{"prompt":"x"}\n' * 4000, "", 1.0),
    "a batch that pauses": (f"POST /batches {_HOST}Content-Type: application/json\r\n{_LENGTH}{_HALF}", "", 1.0),
    "a form that pauses": (f"POST /jobs {_HOST}{_MULTIPART}{_LENGTH}--b\r\n\r\n{_HALF}", "", 1.0),
    "a response that pauses": (
        f"POST /v1/responses {_HOST}Content-Type: application/json\r\n{_LENGTH}{_HALF}",
        "",
        1.0,
    ),
    "a chat that pauses": (f"POST /ai/chat {_HOST}Content-Type: application/json\r\n{_LENGTH}{_HALF}", "", 1.0),
    "headers that pause": (f"GET /livez {_HOST}" + f"X: {'x' * 8000}\r\n" * 7, "", 1.0),
    "headers that pause, with a body": (
        f"POST /jobs {_HOST}Content-Type: application/json\r\n" + f"X: {'x' * 8000}\r\n" * 7 + _LENGTH + _HALF,
        "",
        1.0,
    ),
    "no request": ("", "", 1.0),
    "kept after a request": (f"GET /livez {_HOST}\r\n", "", 1.0),
}


# The attack itself keeps a core busy, and each look at /livez waits for its turn.
@pytest.mark.timeout(300)
@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_more_of_them_than_there_are_places(directory: Path, attack: str) -> None:
    """A reader of another job gets its tokens, and ``/livez`` answers, while more connections than the web has places
    for send so little; none of them lives longer than a request may take."""
    head, piece, pause_s = ATTACKS[attack]
    limits = {"MAX_STREAMS": 200, "HEADERS_S": 3, "BODY_S": 4, "STALL_S": 3}
    with running_stack(directory, webs=1, workers=1, **limits) as stack, Bystander(stack) as bystander:
        web = stack.webs[0]
        served = processes_of(web)
        bystander.calm()
        asked: list[float] = []
        options = {"connections": _PLACES + 100, "pause_s": pause_s, "again_s": 3.0}
        with bystander.attack(), flood(web.port, head, piece, **options) as flooder:
            for _ in range(20):
                asked.append(port_answers(web.port))
                let_pass(0.5)
        bystander.report(f"requests: {attack}", livez_s=round(max(asked), 2), **flooder.told)
        assert bystander.silence_s < 1
        assert bystander.reconnects == 0
        assert bystander.grew_mb("web") < 150
        assert processes_of(web) == served
        assert broke(web) == []
        if attack != "kept after a request":
            assert flooder.told["longest_s"] < 20
