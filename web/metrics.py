"""The Prometheus metrics of webs."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_ANSWER_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
_STREAM_S = (1, 5, 15, 60, 300, 1800, 7200)

STREAMS = Gauge("spool_streams", "Streams open now, by media type", ["media_type"], multiprocess_mode="livesum")
STREAMS_BEGUN = Counter("spool_streams_begun", "Streams begun; resumed: after an entry", ["media_type", "resumed"])
STREAMS_ENDED = Counter("spool_streams_ended", "Streams ended", ["media_type", "reason"])
STREAM_TIME = Histogram("spool_stream_seconds", "How long streams were open", ["media_type"], buckets=_STREAM_S)
SUBMITTED = Counter("spool_jobs_submitted", "Jobs accepted", ["surface"])
BATCHES = Counter("spool_batches_submitted", "Batches accepted")
REQUESTS = Counter("spool_http_requests", "Requests answered", ["surface", "status"])
ANSWER_TIME = Histogram(
    "spool_http_answer_seconds", "From a request's head to its answer's first byte", ["surface"], buckets=_ANSWER_S
)
