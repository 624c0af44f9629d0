"""Credentials of requests: how callers show them, and whether they are valid."""
