"""Batches for tests of what is made from them."""

from __future__ import annotations

COUNTS = {"queued": 0, "running": 0, "succeeded": 1, "failed": 0, "cancelled": 0, "expired": 0}
