"""``/durable/{job}``: a job's log by the Durable Streams protocol, read-only.

https://github.com/durable-streams/durable-streams/blob/main/PROTOCOL.md. The messages are the log's entries, and the
terminal one closes the stream. Not there: writing (405), expiry headers, and caching by others, because logs are
private. A stream of events stays open for the same reason: the protocol ends it after a minute for shared caches.
"""
