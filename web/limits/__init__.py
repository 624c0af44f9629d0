"""Limits of one process: streams, connections, bytes being received and bytes unsent."""
