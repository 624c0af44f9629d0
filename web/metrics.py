"""The Prometheus metrics of this process's streams and submits."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

STREAMS = Gauge("spool_streams", "Streams open now, by media type", ["media_type"], multiprocess_mode="livesum")
SUBMITTED = Counter("spool_jobs_submitted", "Jobs accepted", ["surface"])
