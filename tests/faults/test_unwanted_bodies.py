"""Bodies that nothing asked for, or that never end, from callers without a key: no reader of another job notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.bystander import Bystander
from tests.faults.flooder import flood
from tests.faults.jobs import let_pass
from tests.faults.vitals import broke, processes_of
from tests.stack import running_stack

_HOST = "HTTP/1.1\r\nHost: 127.0.0.1\r\n"
_CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
_ENDLESS = "Content-Length: 99999999999\r\n\r\n"
_JSON = "Content-Type: application/json\r\n"
_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)

ATTACKS = {
    "one-byte chunks, /livez": (f"GET /livez {_HOST}{_CHUNKED}", "1\r\nx\r\n"),
    "endless length, /livez": (f"GET /livez {_HOST}{_ENDLESS}", "x" * 1000),
    "no key, /jobs": (f"POST /jobs {_HOST}{_JSON}{_CHUNKED}", "1\r\nx\r\n"),
    "no key, /v1": (f"POST /v1/responses {_HOST}{_JSON}{_ENDLESS}", "x" * 1000),
    "no such path": (f"POST /nothing {_HOST}{_CHUNKED}", "1\r\nx\r\n"),
    "wrong method": (f"PUT /livez {_HOST}{_CHUNKED}", "1\r\nx\r\n"),
    "no key, stream": (f"GET /jobs/x/stream {_HOST}{_CHUNKED}", "1\r\nx\r\n"),
    "endless extension": (f"POST /jobs {_HOST}{_JSON}{_CHUNKED}1;", "x" * 1000),
    "endless trailers": (f"GET /livez {_HOST}{_CHUNKED}0\r\n", "A: b\r\n"),
    "WebSocket with a body": (f"GET /ws {_HOST}{_UPGRADE}{_CHUNKED}", "1\r\nx\r\n"),
    "endless headers": (f"GET /livez {_HOST}", "A: b\r\n"),
    "endless request line": ("GET /", "x" * 1000),
    "no HTTP": ("", "\x16\x03\x01"),
    "requests without end": ("", f"GET /livez {_HOST}\r\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_body_that_no_route_wants(directory: Path, attack: str) -> None:
    """A reader of another job gets its tokens while such a request is sent again and again; the process is the same
    after it, has not grown, and has closed each connection in bounded time."""
    head, piece = ATTACKS[attack]
    with running_stack(directory, webs=1, workers=1) as stack, Bystander(stack) as bystander:
        web = stack.webs[0]
        served = processes_of(web)
        bystander.calm()
        with bystander.attack(), flood(web.port, head, piece, at_once=400, pause_s=0.002) as flooder:
            let_pass(8)
        bystander.report(f"requests: {attack}", **flooder.told)
        assert bystander.silence_s < 1
        assert bystander.reconnects == 0
        assert bystander.grew_mb("web") < 40
        assert processes_of(web) == served
        assert broke(web) == []
        if attack != "requests without end":
            assert flooder.told["longest_s"] < 8
