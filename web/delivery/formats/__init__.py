"""Formats: entries in, bytes out, without sockets or waits."""
