"""What users would pick instead of Spool, as subjects of the bench: fetched at pinned versions, never committed.

| module | peer | who produces |
|---|---|---|
| ``sse_starlette`` | Starlette + sse-starlette, one blocking XREAD per client | ``producer``: XADD |
| ``resumable_stream`` | ``resumable-stream`` on Node, over Redis | the Node process that made the stream |
| ``nchan`` | nginx + nchan | ``producer``: POST |

All of them send the same data, one entry as Spool encodes it per event.
"""
