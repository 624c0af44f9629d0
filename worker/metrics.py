"""The Prometheus metrics of workers."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_WAIT_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
_FIRST_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_RUN_S = (0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)

ATTEMPTS = Counter("spool_attempts", "Attempts begun, by how they begin", ["model", "how"])
ATTEMPTS_OVER = Counter("spool_attempts_over", "Attempts over without the job's end", ["model", "reason"])
QUEUE_WAIT = Histogram(
    "spool_queue_wait_seconds", "From submit to the first claim", ["model", "priority"], buckets=_WAIT_S
)
FIRST_TOKEN = Histogram("spool_first_token_seconds", "From claim to the first token", ["model"], buckets=_FIRST_S)
ATTEMPT_TIME = Histogram("spool_attempt_seconds", "From claim to the job's end", ["model"], buckets=_RUN_S)
TOKENS = Counter("spool_tokens", "Tokens that model servers reported", ["model", "direction"])
COMMIT_LOGS = Histogram("spool_commit_logs", "Logs that a commit appends to, one in 16 commits", buckets=_SIZES)
WEBHOOK_ATTEMPTS = Counter("spool_webhook_attempts", "Attempts to deliver a webhook", ["outcome"])
APPENDS_REFUSED = Counter("spool_appends_refused", "Appends without the right to the job", ["answer"])
UPSTREAM_ANSWERS = Counter("spool_upstream_answers", "Answers of model servers", ["upstream", "status"])
