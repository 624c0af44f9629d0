"""Formats: entries in, bytes out. They hold no socket and do not wait."""
