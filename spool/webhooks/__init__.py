"""Webhooks: events of jobs and batches that end, signed and delivered to their owners' receivers."""
