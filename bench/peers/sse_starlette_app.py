"""The log of a job from a Redis stream to one client, as people write it by hand: sse-starlette and a blocking XREAD.

It runs in an environment of its own, under uvicorn, and imports nothing of this repository.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

# Each waiting client holds a connection, so redis-py's limit of 100 and its timeout of 5 s would both be in the way.
redis = Redis.from_url(os.environ["PEER_REDIS_URL"], max_connections=100_000, socket_timeout=None)


async def events(job: str, last: str) -> AsyncIterator[dict[str, str]]:
    """Every entry after ``last``, until the one that ends the job."""
    while True:
        for _, entries in await redis.xread({f"job:{job}": last}, count=100, block=15_000):
            for entry_id, fields in entries:
                last = entry_id.decode()
                yield {"id": last, "data": fields[b"data"].decode()}
                if b"end" in fields:
                    return


async def stream(request: Request) -> EventSourceResponse:
    """``GET /jobs/{job}/stream``; an EventSource that comes back says which event it has."""
    return EventSourceResponse(events(request.path_params["job"], request.headers.get("last-event-id", "0")))


app = Starlette(routes=[Route("/jobs/{job}/stream", stream)])
