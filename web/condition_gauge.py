"""The metric that shows the conditions of the web processes."""

from __future__ import annotations

from prometheus_client import Gauge

CONDITIONS = Gauge("spool_condition", "1 while it lasts, by name", ["name"], multiprocess_mode="livemax")


def show_condition(name: str, lasts: bool) -> None:
    """Set the gauge of one of ``spool.conditions``."""
    CONDITIONS.labels(name).set(lasts)
