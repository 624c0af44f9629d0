"""Transports that an operator has turned off: nothing new begins over them. Streams that are open go on."""

from __future__ import annotations

from spool.errors import TransportOff
from spool.switches.board import Board
from spool.switches.switch import Transport

_RETRY_S = 30.0
_OF_MEDIA_TYPE = {
    "text/event-stream": Transport.SSE,
    "application/x-ndjson": Transport.NDJSON,
    "text/plain": Transport.TEXT,
}


def refuse_off(switches: Board, transport: Transport) -> None:
    """Raise ``TransportOff`` if this transport is turned off. Clients climb down to the next one that is not."""
    switch = switches.off(transport)
    if switch is not None:
        detail = f"the transport {transport.value} is turned off at the moment{switch.because}; use another one"
        raise TransportOff(f"{detail}, or poll GET /jobs/{{id}}", retry_after_s=_RETRY_S)


def refuse_media_type(switches: Board, media_type: str) -> None:
    """The same for a stream over HTTP, by its media type."""
    refuse_off(switches, _OF_MEDIA_TYPE[media_type])
