"""Spool's worker: claims a job, runs a backend, appends to the log. ``python -m worker``."""
