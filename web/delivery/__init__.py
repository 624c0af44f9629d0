"""Delivery of entries to clients: streams, long waits, WebSockets, and their formats."""
